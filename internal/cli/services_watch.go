package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// shownChanges is how many of the last changes stand below the table on a terminal.
const shownChanges = 10

// event is one change of one instance, as a watch shows it.
type event struct {
	at time.Time
	// sign is "+", "-" or "~".
	sign string
	// inst is the instance after the change, or before it if it is gone.
	inst *mesh.Instance
	// why says what changed and on whose word.
	why string
}

// line is the event for programs: the sign, the fields of instanceLine, the time and the reason.
func (v event) line() string {
	return fmt.Sprintf("%s\t%s\t%s\t%s", v.sign, instanceLine(v.inst), v.at.UTC().Format(time.RFC3339), printable(v.why))
}

// changes finds what differs between the snapshots of one watch.
type changes struct {
	last map[string]*mesh.Instance // by id; nil before the first snapshot
}

// next returns what changed since the snapshot before, first what came or changed, by service and id.
func (c *changes) next(s *mesh.Snapshot, now time.Time) []event {
	var out []event
	was := c.last
	c.last = make(map[string]*mesh.Instance)
	for _, i := range instances(s) {
		c.last[i.ID] = i
		switch old := was[i.ID]; {
		case old == nil:
			out = append(out, event{now, "+", i, came(i, now)})
		default:
			if why := differs(old, i); why != "" {
				out = append(out, event{now, "~", i, why})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(was)) {
		if c.last[id] == nil {
			out = append(out, event{now, "-", was[id], left(was[id])})
		}
	}
	return out
}

// came says how an instance is that was not there before.
func came(i *mesh.Instance, now time.Time) string {
	by := cmp.Or(i.Registrar, "nobody")
	if i.RegisteredAt.IsZero() {
		return "registered by " + by + "; " + whyHealth(i, now)
	}
	return "registered " + age(now, i.RegisteredAt) + " ago by " + by + "; " + whyHealth(i, now)
}

// left says how an instance was that is gone.
func left(i *mesh.Instance) string {
	why := "deregistered; it was " + i.Health.String()
	if i.Draining {
		why += " and draining"
	}
	return why
}

// differs says what changed of an instance and on whose word; it is empty for nothing.
func differs(old, now *mesh.Instance) string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if old.Incarnation != now.Incarnation {
		add("registered anew by %s", cmp.Or(now.Registrar, "nobody"))
	}
	if old.HostPort() != now.HostPort() {
		add("moved from %s", old.HostPort())
	}
	if old.Health != now.Health {
		add("%s, was %s%s", now.Health, old.Health, verdictReason(old, now))
	} else {
		out = append(out, otherWords(old, now)...)
	}
	switch {
	case now.Draining && !old.Draining:
		add("drains")
	case !now.Draining && old.Draining:
		add("drains no more")
	}
	if !maps.Equal(old.Metadata, now.Metadata) {
		add("metadata is %s", cmp.Or(metadataText(now.Metadata), "empty"))
	}
	return strings.Join(out, "; ")
}

// verdictReason is what a changed verdict rests on.
func verdictReason(old, now *mesh.Instance) string {
	if soft(old.HealthBy) && !soft(now.HealthBy) && now.Health == mesh.Passing {
		return ": heard again"
	}
	for _, e := range evidenceOf(now) {
		if e.Source == now.HealthBy {
			return deciding(e)
		}
	}
	return ", as it was registered"
}

// soft reports whether a sign of life takes back what the source said.
func soft(source string) bool { return source == mesh.SourceSession || source == mesh.SourceLease }

// otherWords are the words that changed and left the verdict as it was.
func otherWords(old, now *mesh.Instance) []string {
	had := make(map[string]mesh.Health)
	for _, e := range old.Evidence {
		had[e.Source] = e.Health
	}
	var out []string
	for _, e := range now.Evidence {
		if h, ok := had[e.Source]; !ok || h != e.Health {
			out = append(out, fmt.Sprintf("still %s; %s", now.Health, said(e)))
		}
	}
	return out
}

// changePrinter prints each change as a line.
func (e *Env) changePrinter() func(*mesh.Snapshot) error {
	var c changes
	return func(s *mesh.Snapshot) error {
		for _, v := range c.next(s, time.Now()) {
			say(e.Stdout, "%s", v.line())
		}
		return nil
	}
}

// screenPrinter redraws a terminal: what is registered, and the last changes with their times below it.
func (e *Env) screenPrinter(look func() upstreams) func(*mesh.Snapshot) error {
	var c changes
	var recent []event
	return func(s *mesh.Snapshot) error {
		first := c.last == nil
		events := c.next(s, time.Now())
		if !first {
			recent = append(recent, events...)
			recent = recent[max(0, len(recent)-shownChanges):]
		}
		ups := look()
		_, _ = io.WriteString(e.Stdout, clearScreen)
		e.printServices(s, ups)
		if len(recent) > 0 {
			say(e.Stdout, "")
		}
		for _, v := range recent {
			say(e.Stdout, "%s %s %s %s: %s", v.at.Format(time.TimeOnly), v.sign, printable(v.inst.Service), printable(v.inst.ID), printable(v.why))
		}
		return nil
	}
}
