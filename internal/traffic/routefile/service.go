package routefile

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// name is what services and routes are called: what the family's clients may register.
var name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// strategies has the words of the file, and what balance.ParseStrategy reads.
var strategies = map[string]string{"least-request": "LeastRequest", "round-robin": "RoundRobin"}

// attemptsMost is how many endpoints an exchange remembers to have tried.
const attemptsMost = 8

func (p *parsing) readServices(v value) {
	if !v.is(mapping, "{orders: {balance: least-request}}") {
		return
	}
	if len(v.entries) > MaxObjects {
		v.wrong("has more than %d services", MaxObjects)
		return
	}
	for _, e := range v.entries {
		o := object[serviceSpec]{kind: "service", name: e.key, place: e.place, path: join(v.path, e.key)}
		at := v.child(e.key, e.value)
		at.into, at.within = &o.problems, true
		o.spec = at.service(e)
		p.services = append(p.services, o)
	}
}

func (v value) service(e entry) serviceSpec {
	s := serviceSpec{ServiceSpec: route.ServiceSpec{Name: e.key, Origin: v.p.origin(e.place)}}
	if problem := wrongService(e.key); problem != "" {
		v.report(e.place, v.path, problem, "")
	}
	v.fields(append([]field{
		{"balance", func(v value) {
			w, _ := v.word("least-request", "round-robin")
			s.Strategy = strategies[w]
		}},
		{"endpoints", func(v value) { s.Endpoints = v.endpoints() }},
		{"check", func(v value) { s.check = v.check() }},
		{"tls", func(v value) { v.serviceTLS(&s.ServiceSpec) }},
		{"proxy_protocol", func(v value) {
			w, _ := v.word("v1", "v2")
			s.Proxy = map[string]int{"v1": 1, "v2": 2}[w]
		}},
		{"prefix", func(v value) { s.Prefix = new(v.flag()) }},
	}, append(policyFields(&s.Policy), limitsOf(&s.Policy))...))
	if s.check != nil && len(s.Endpoints) > 0 {
		v.wrong("has endpoints and a check; only the instances of the registry are probed")
	}
	return s
}

// wrongService says what is wrong with the name of a service, nothing if it is right.
func wrongService(s string) string {
	switch key := mesh.ServiceKey(s); {
	case key == "dashboard" || key == "consul":
		return shorten(s) + " is reserved: nothing is routed to a service of this name"
	case !name.MatchString(s):
		return shorten(s) + " is no name of a service: 1 to 128 letters, digits, dots, underscores and hyphens"
	}
	return ""
}

func (v value) endpoints() []string {
	var out []string
	seen := map[string]bool{}
	v.list(`["10.0.0.7:8080"]`, func(v value) {
		s, ok := v.str("10.0.0.7:8080")
		if !ok {
			return
		}
		switch problem := wrongHostPort(strings.TrimPrefix(s, "https://"), 0); {
		case problem != "":
			v.wrong("%s", problem)
		case seen[s]:
			v.wrong("%s is here twice", shorten(s))
		default:
			out = append(out, s)
		}
		seen[s] = true
	})
	if v.form == list && len(v.items) == 0 {
		v.wrong("is empty; leave it out to take the instances of the registry")
	}
	return out
}

// policyFields are the keys that defaults, services and routes share.
func policyFields(p *route.Policy) []field {
	return append(upgradeFields(p), []field{
		{"timeout", func(v value) {
			v.fields([]field{
				{"connect", func(v value) { p.Connect = v.duration() }},
				{"per_try", func(v value) { p.PerTry = v.duration() }},
				{"idle", func(v value) { p.Idle = v.duration() }},
				{"total", func(v value) { p.Total = v.duration() }},
				{"tunnel", func(v value) { p.Tunnel = v.durationOrNone() }},
				{"body", func(v value) { p.Ceiling = time.Duration(v.bound(func(v value) int64 { return int64(v.duration()) })) }},
			})
			if p.Total > 0 && p.PerTry > p.Total {
				v.wrong("per_try is more than total")
			}
		}},
		{"retry", func(v value) {
			v.fields([]field{
				{"attempts", func(v value) { p.Attempts = v.count(attemptsMost) }},
				{"budget", func(v value) {
					share, ok := v.percent()
					if p.Budget = share; ok && share == 0 {
						p.Budget = -1
					}
				}},
				{"methods", func(v value) {
					w, _ := v.word("idempotent", "all")
					p.RetryAll = w == "all"
				}},
			})
		}},
	}...)
}

// object is a route or a service, with what is wrong with it.
type object[S any] struct {
	kind, name string
	place      place
	path       string
	spec       S
	problems   Problems
}

func (o *object[S]) wrong(p *parsing, path, format string, args ...any) {
	o.problems.add(Problem{Origin: p.origin(o.place), Path: path, Reason: fmt.Sprintf(format, args...)})
}

// title is the name, or the path of an object that has none.
func (o *object[S]) title() string { return cmp.Or(o.name, o.path) }

// refusal tells why the object is not in force.
func (o *object[S]) refusal(p *parsing) route.Refusal {
	first := o.problems[0]
	reason := first.text()
	if first.Path != o.path {
		reason = first.String()
	}
	if more := len(o.problems) - 1; more > 0 {
		reason += fmt.Sprintf(" (and %d more)", more)
	}
	return route.Refusal{Kind: o.kind, Name: o.title(), Origin: p.origin(o.place), Reason: reason}
}

// settle gives the valid objects to take, and returns the others with all their problems.
func settle[S any](p *parsing, objects []object[S], take func(S)) Problems {
	var out Problems
	for i := range objects {
		o := &objects[i]
		if len(o.problems) == 0 {
			take(o.spec)
			continue
		}
		o.problems.sort()
		p.file.Set.Quarantined = append(p.file.Set.Quarantined, o.refusal(p))
		for _, q := range o.problems {
			q.Kind, q.Name = o.kind, o.title()
			out = append(out, q)
		}
	}
	return out
}

// refuseTwins refuses all objects of one name, each with the places of the others.
func refuseTwins[S any](p *parsing, objects []object[S], key func(string) string) {
	const shown = 3
	byKey := map[string][]int{}
	for i, o := range objects {
		if o.name != "" {
			byKey[key(o.name)] = append(byKey[key(o.name)], i)
		}
	}
	for i := range objects {
		twins := byKey[key(objects[i].name)]
		if len(twins) < 2 {
			continue
		}
		var places []string
		for _, j := range twins[:min(len(twins), shown+1)] {
			if j != i && len(places) < shown {
				places = append(places, p.origin(objects[j].place).String())
			}
		}
		more := ""
		if n := len(twins) - 1 - len(places); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		o := &objects[i]
		o.wrong(p, o.path, "the name %s is taken by another %s too, at %s%s; neither is in force",
			shorten(o.name), o.kind, strings.Join(places, ", "), more)
	}
}

func (p *parsing) takeService(s serviceSpec) {
	p.file.Set.Services = append(p.file.Set.Services, s.ServiceSpec)
	if s.check == nil {
		return
	}
	if p.file.Checks == nil {
		p.file.Checks = map[string]mesh.Check{}
	}
	p.file.Checks[mesh.ServiceKey(s.Name)] = *s.check
}

// finish puts the set together and returns all problems in the order of the file.
func (p *parsing) finish() Problems {
	refuseTwins(p, p.services, mesh.ServiceKey)
	refuseTwins(p, p.routes, func(s string) string { return s })
	p.refuseShadowed()
	set := &p.file.Set
	problems := slices.Clone(p.problems)
	problems = append(problems, settle(p, p.services, p.takeService)...)
	problems = append(problems, settle(p, p.routes, func(s route.Spec) { set.Routes = append(set.Routes, s) })...)
	set.TrustedProxies = p.file.TrustedProxies
	for i := range p.services {
		if o := &p.services[i]; o.spec.Secure && len(o.problems) > 0 {
			set.Closed = append(set.Closed, o.name)
		}
	}
	problems.sort()
	return problems
}
