package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Prober is a Client that can also ask the node for the probes that it makes. One whose node makes none
// answers with an error, and nothing is shown of probes.
type Prober interface {
	Probes(ctx context.Context, service string) ([]mesh.ProbeStatus, error)
}

// probesOf returns the probes of a service by instance, as far as the node tells of them. They explain what
// the registry knows; without them the rest is as true.
func probesOf(ctx context.Context, c Client, service string) map[string]mesh.ProbeStatus {
	p, ok := c.(Prober)
	if !ok {
		return nil
	}
	list, err := p.Probes(ctx, service)
	if err != nil {
		return nil
	}
	out := make(map[string]mesh.ProbeStatus, len(list))
	for _, s := range list {
		out[s.ID] = s
	}
	return out
}

// evidenceOf returns the last words on an instance's health: those that the node tells, or the one that the
// verdict of an older node is.
func evidenceOf(i *mesh.Instance) []mesh.Evidence {
	if len(i.Evidence) > 0 || i.HealthBy == "" {
		return i.Evidence
	}
	return []mesh.Evidence{{Source: i.HealthBy, Health: i.Health, Output: i.HealthOutput, At: i.HealthAt}}
}

// whyHealth says since when the instance has its health and on whose word, and then what the others say.
func whyHealth(i *mesh.Instance, now time.Time) string {
	var b strings.Builder
	b.WriteString(i.Health.String())
	switch {
	case i.HealthBy == "" && i.HealthAt.IsZero():
		b.WriteString(", as it was registered; nobody has said otherwise")
	case i.HealthBy == "":
		fmt.Fprintf(&b, ", since it was heard again %s ago", age(now, i.HealthAt))
	case !i.HealthAt.IsZero():
		fmt.Fprintf(&b, " for %s", age(now, i.HealthAt))
	}
	for _, e := range evidenceOf(i) {
		if e.Source == i.HealthBy {
			b.WriteString(deciding(e))
		}
	}
	for _, e := range evidenceOf(i) {
		if e.Source != i.HealthBy {
			b.WriteString("; " + said(e))
		}
	}
	return b.String()
}

// deciding is the word that the verdict is, behind the verdict.
func deciding(e mesh.Evidence) string {
	if soft(e.Source) {
		return ", because " + said(e)
	}
	return ": " + said(e)
}

// said is one word on an instance's health as a clause.
func said(e mesh.Evidence) string {
	vanished := ""
	if e.Health == mesh.Suspect {
		vanished = " together with most of the service"
	}
	switch e.Source {
	case mesh.SourceSession:
		return "the connection of its session broke" + vanished
	case mesh.SourceLease:
		return "its lease was not renewed" + vanished
	}
	if e.Output == "" {
		return fmt.Sprintf("%s says %s", e.Source, e.Health)
	}
	if e.Health == mesh.Passing {
		return fmt.Sprintf("%s says passing: %q", e.Source, e.Output)
	}
	return fmt.Sprintf("%s says %q", e.Source, e.Output)
}

// evidenceText is one word with its time.
func evidenceText(e evidenceJSON, now time.Time) string {
	text := e.Health.String()
	if !e.At.IsZero() {
		text += " for " + age(now, e.At)
	}
	if e.Output != "" {
		text += fmt.Sprintf(": %q", e.Output)
	}
	return text
}

// probeText tells of the last probe of an instance.
func probeText(p *probeJSON, now time.Time) string {
	if p == nil {
		return ""
	}
	if p.At.IsZero() {
		return p.Target + ", not yet"
	}
	result := "failed"
	if p.OK {
		result = "passed"
	}
	text := fmt.Sprintf("%s, %s ago: %s after %s, %d in a row", p.Target, age(now, p.At), result,
		time.Duration(p.TookSeconds*float64(time.Second)).Round(time.Microsecond), p.InARow)
	if p.Output != "" {
		text += fmt.Sprintf(": %q", p.Output)
	}
	return text
}

type evidenceJSON struct {
	Source string      `json:"source"`
	Health mesh.Health `json:"health"`
	Output string      `json:"output,omitempty"`
	At     time.Time   `json:"at,omitzero"`
}

func toEvidenceJSON(list []mesh.Evidence) []evidenceJSON {
	var out []evidenceJSON
	for _, e := range list {
		out = append(out, evidenceJSON{Source: e.Source, Health: e.Health, Output: e.Output, At: e.At})
	}
	return out
}

type probeJSON struct {
	Target      string      `json:"target"`
	At          time.Time   `json:"at,omitzero"`
	TookSeconds float64     `json:"tookSeconds"`
	OK          bool        `json:"ok"`
	Output      string      `json:"output,omitempty"`
	InARow      int         `json:"inARow"`
	Health      mesh.Health `json:"health"`
}

// toProbeJSON is nil for a probe of another incarnation, or none.
func toProbeJSON(p mesh.ProbeStatus, i *mesh.Instance) *probeJSON {
	if p.ID != i.ID || p.Incarnation != i.Incarnation {
		return nil
	}
	return &probeJSON{Target: p.Target, At: p.At, TookSeconds: p.Took.Seconds(), OK: p.OK, Output: p.Output,
		InARow: p.InARow, Health: p.Health}
}
