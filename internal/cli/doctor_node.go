package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// patience is how long the doctor waits for each answer of a node.
const patience = 5 * time.Second

// brokenCodes are the alarms without which a node does not do its work; the others degrade it.
var brokenCodes = []string{mesh.CodeStoreFailed, mesh.CodeStoreFull, mesh.CodeStoreNoQuorum, app.CodeStoreUnopened}

// node asks a node how it is.
func (c *checkup) node(ctx context.Context, t target) {
	client := c.env.Connect(t.control, t.token)
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	st, err := client.Status(ctx)
	if err != nil {
		f := explain(err)
		c.fail("node", f.next, "the node at %s does not tell its state: %v", httpapi.HostPort(t.control), err)
		return
	}
	c.state(t, st)
	for _, r := range st.Roles {
		c.role(r)
	}
	if st.Registry.Stale {
		c.warn("node", "repair the store, see the other lines; until then the gateway serves what was last seen",
			"the registry is stale: its store cannot be reached since revision %v", st.Registry.Revision)
	}
	for _, a := range st.Alarms {
		report := c.warn
		if slices.Contains(brokenCodes, a.Code) {
			report = c.fail
		}
		report("node", "toska help "+a.Code, "%s: %s", a.Code, a.Detail)
	}
	c.listeners(t, st)
	if t.dataDir != "" {
		c.openFiles(st.PID, fmt.Sprintf("process %d", st.PID))
	}
	snap, err := client.Snapshot(ctx)
	if err != nil {
		f := explain(err)
		c.fail("service", f.next, "the node at %s does not list its services: %v", httpapi.HostPort(t.control), err)
		return
	}
	c.services(snap, upstreamsOf(ctx, client, ""))
}

func (c *checkup) state(t target, st mesh.Status) {
	now := c.env.Machine.Now()
	if ahead := st.StartedAt.Sub(now); ahead > clockSlack {
		c.warn("clock", "set the clocks of both machines, by NTP for example",
			"the node at %s says that it started %v in the future: its clock and this one differ", httpapi.HostPort(t.control), ahead.Round(time.Second))
	}
	if mine := version(); st.Version != mine {
		c.warn("node", "use the same version of both, or restart the node after an upgrade",
			"the node at %s is version %s, this command is %s", httpapi.HostPort(t.control), st.Version, mine)
	}
	if !st.Ready {
		c.fail("node", "see the roles below, and the node's log", "the node at %s is not ready", httpapi.HostPort(t.control))
		return
	}
	c.ok("node", "the node at %s is ready: %s, %s", httpapi.HostPort(t.control), count(st.Registry.Services, "service"), count(st.Registry.Instances, "instance"))
}

func (c *checkup) role(r mesh.RoleStatus) {
	switch {
	case r.State == "failed":
		c.fail("node", "its log tells more; restart the node once the cause is gone", "role %s has failed: %s", r.Name, r.Reason)
	case r.State != "ready":
		c.warn("node", "wait, and look again; its log tells more", "role %s is %s %s", r.Name, r.State, reason(r))
	case r.Restarts > 0:
		c.warn("node", "see its log for the cause", "role %s is ready after %s %s", r.Name, count(r.Restarts, "restart"), reason(r))
	}
}

func reason(r mesh.RoleStatus) string {
	if r.Reason == "" {
		return ""
	}
	return "(last failure: " + r.Reason + ")"
}

// listeners names the addresses, and which of them others can reach.
func (c *checkup) listeners(t target, st mesh.Status) {
	for _, name := range listenerNames(st.Addresses) {
		addr := st.Addresses[name]
		if t.dataDir == "" && beside(t.control, addr) != addr {
			c.ok("ports", "%s listens on %s of its machine", name, addr)
			continue
		}
		c.ok("ports", "%s listens on %s", name, addr)
	}
}

// services tells of each service that is not as it should be.
func (c *checkup) services(snap *mesh.Snapshot, ups upstreams) {
	well, ofFile, now := 0, 0, c.env.Machine.Now()
	for _, key := range slices.Sorted(maps.Keys(snap.Services)) {
		if up := ups[key]; up != nil && (up.Source == mesh.UpstreamFile || up.Quarantined != "") {
			continue // told of below
		}
		if c.service(detail(snap.Services[key], ups[key], now)) {
			well++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(ups)) {
		up := ups[key]
		if up.Source != mesh.UpstreamFile && up.Quarantined == "" {
			continue
		}
		if c.fileService(detail(snap.Services[key], up, now), up) {
			ofFile++
		}
	}
	if ofFile > 0 {
		c.ok("service", "%s of the file, at whose endpoints the gateway saw nothing wrong", count(ofFile, "service"))
	}
	if well > 0 {
		c.ok("service", "%s with every instance passing", count(well, "service"))
	}
}

// service reports whether all is well with a service of the registry, and what is not.
func (c *checkup) service(d serviceDetail) bool {
	healthy := 0
	for _, i := range d.Instances {
		if i.Health == mesh.Passing {
			healthy++
		}
	}
	see := "toska services " + d.Name
	switch {
	case d.Picked == 0:
		c.fail("service", see, "%s: %s, %s", d.Name, count(len(d.Instances), "instance"), d.Why)
	case healthy < len(d.Instances):
		c.warn("service", see, "%s: %d of %s passing; %s", d.Name, healthy, count(len(d.Instances), "instance"), d.Why)
	default:
		return c.experience(d)
	}
	return false
}

// fileService does the same of a service that the file has endpoints of, or a wrong entry.
func (c *checkup) fileService(d serviceDetail, up *mesh.UpstreamStatus) bool {
	switch see := "toska services " + d.Name; {
	case blocked(up):
		c.fail("service", see, "%s: %s", d.Name, d.Why)
	case up.Quarantined != "":
		c.warn("service", see, "%s: %s", d.Name, d.Why)
	default:
		if up.Overridden > 0 {
			c.warn("service", "rename one of them, or take the endpoints out of the file",
				"%s: the file's endpoints at %s override %s", d.Name, up.Origin, count(up.Overridden, "registered instance"))
		}
		return c.experience(d) && up.Overridden == 0
	}
	return false
}

// experience reports whether the gateway has nothing against the endpoints of a service, and what it has:
// those that are ejected, and those that fail and stay because others are out already.
func (c *checkup) experience(d serviceDetail) bool {
	var bad []string
	failing := 0
	for _, e := range d.Endpoints {
		what := ""
		switch {
		case e.EjectedUntil != nil:
			what = "is ejected: " + e.EjectedFor
		case e.Failures >= worthTelling:
			what = fmt.Sprintf("failed %d times in a row, last with %s", e.Failures, e.LastFailure)
			if e.LastFailureAt != nil {
				what += " " + age(c.env.Machine.Now(), *e.LastFailureAt) + " ago"
			}
		}
		if what != "" {
			failing++
			bad = append(bad, e.Address+" "+what)
		}
	}
	if len(bad) == 0 {
		return true
	}
	report := c.warn
	if failing == len(d.Endpoints) {
		report = c.fail
	}
	const most = 3
	told := strings.Join(bad[:min(len(bad), most)], "; ") + map[bool]string{true: " …"}[len(bad) > most]
	report("service", "toska services "+d.Name, "%s: %d of %s not well by what the gateway saw: %s",
		d.Name, failing, count(len(d.Endpoints), "endpoint"), told)
	return false
}

// worthTelling is how many failures in a row are no accident.
const worthTelling = 3

func inUse(open int) string {
	if open == 0 {
		return ""
	}
	return fmt.Sprintf(", and has %d", open)
}
