package upstream

import (
	"fmt"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Status tells what the upstream picks from, and what was seen of its endpoints.
func (u *Upstream) Status(now time.Time) mesh.UpstreamStatus {
	st := mesh.UpstreamStatus{Service: u.Service, Source: mesh.UpstreamRegistry, Why: u.Why,
		Endpoints: make([]mesh.EndpointStatus, 0, len(u.all)), Ejections: u.Counts.Ejections(), Retries: u.Counts.Retries()}
	if u.FromFile() {
		st.Source, st.Overridden = mesh.UpstreamFile, u.Registered()
	}
	live := make(map[*live]bool, len(u.live))
	for _, e := range u.live {
		live[e.live] = true
	}
	for i, e := range u.all {
		var in *mesh.Instance
		if !u.FromFile() {
			in = u.source.Instances[i] // all is in their order
		}
		st.Endpoints = append(st.Endpoints, u.endpointStatus(e, in, live[e.live], now))
	}
	return st
}

func (u *Upstream) endpointStatus(e *Endpoint, in *mesh.Instance, live bool, now time.Time) mesh.EndpointStatus {
	st := mesh.EndpointStatus{Address: e.Addr, InFlight: e.InFlight(), Picked: live, Share: e.Share(now)}
	var last *Failure
	if st.Failures, last = e.Failures(); last != nil {
		st.LastFailure, st.LastFailureAt = last.Code, last.At
	}
	if in != nil {
		st.Instance = in.ID
	}
	if out := e.Ejection(now); out != nil {
		st.EjectedAt, st.EjectedUntil, st.EjectedFor = out.Since, out.Until, out.Why
	}
	switch {
	case !live:
		st.Why = unpicked(in)
	case !st.EjectedAt.IsZero():
		st.Picked, st.Why = false, "ejected: "+st.EjectedFor
	case e.Spared(now):
		st.Why = fmt.Sprintf("%d attempts in a row failed; it is picked all the same, since at least half of the endpoints stay", st.Failures)
	case st.Share < 1:
		st.Why = fmt.Sprintf("warms up: gets %.0f %% of its share", 100*st.Share)
	}
	return st
}

// unpicked says why an instance is not among those that may be picked.
func unpicked(in *mesh.Instance) string {
	switch {
	case in == nil:
		return ""
	case in.Draining:
		return "drains"
	case speaksTLS(in):
		return "asks for https, which is not spoken to endpoints"
	}
	return in.Health.String()
}

// Out returns how many of the endpoints that may be picked are ejected.
func (u *Upstream) Out(now time.Time) int {
	n := 0
	for _, e := range u.live {
		if !e.Ejected(now).IsZero() {
			n++
		}
	}
	return n
}
