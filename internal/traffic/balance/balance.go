// Package balance picks one of several endpoints: least request of two random choices, and smooth
// weighted round robin.
//
// # Concurrency
//
// Pickers are safe for concurrent use. A picker is built for one set of endpoints and never changes
// its mind about who they are; a changed set gets a new picker.
package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// Strategy is how an upstream's endpoint is picked.
type Strategy uint8

const (
	// LeastRequest picks, of two at random, the one with fewer requests in flight for its weight.
	LeastRequest Strategy = iota
	// RoundRobin picks in turn, by weight and evenly spread.
	RoundRobin
)

// ParseStrategy reads a value of the metadata key lb_strategy, in the spellings that both of the
// family's SDKs write, without case. ok is false for a word that names none of ours.
func ParseStrategy(s string) (_ Strategy, ok bool) {
	switch strings.ToLower(strings.ReplaceAll(s, "_", "")) {
	case "roundrobin", "weightedroundrobin":
		return RoundRobin, true
	case "leastconnections", "leastrequest":
		return LeastRequest, true
	}
	return LeastRequest, false
}

// Member is an endpoint as a picker sees it.
type Member interface {
	// Weight is 1 or more, and constant.
	Weight() int
	// InFlight is the number of requests that the endpoint is serving for us now.
	InFlight() int64
	// Avoid reports whether this pick should go to another member if there is one: the member is ejected,
	// or is new and the dice, evenly spread over all of uint32, say that it gets no full share yet. The
	// greatest of them never say that.
	Avoid(dice uint32) bool
}

// Tried remembers which members an exchange has tried. The zero value is none.
type Tried struct {
	n  int
	at [MaxTried]int
}

// MaxTried is how many members a Tried remembers; more are forgotten.
const MaxTried = 8

// Add remembers the i-th member.
func (t *Tried) Add(i int) {
	if t.n < len(t.at) {
		t.at[t.n] = i
		t.n++
	}
}

// Len returns how many are remembered.
func (t *Tried) Len() int { return t.n }

// Has reports whether the i-th member is remembered.
func (t *Tried) Has(i int) bool {
	return slices.Contains(t.at[:t.n], i)
}

// Picker picks a member by its position.
type Picker interface {
	// Pick returns the position of a member that was not tried, or -1 when all were.
	Pick(tried *Tried) int
}

// New returns a picker over the members.
func New[M Member](s Strategy, members []M) Picker {
	switch s {
	case RoundRobin:
		weights := make([]int, len(members))
		for i, m := range members {
			weights[i] = max(m.Weight(), 1)
		}
		return &avoiding[M]{members: members, picker: newRoundRobin(weights)}
	case LeastRequest:
	}
	return &leastRequest[M]{members: members}
}

// spare returns an untried member that need not be avoided, from a random start; otherwise -1.
func spare[M Member](members []M, tried *Tried, from int) int {
	for k := range members {
		i := (from + k) % len(members)
		if !tried.Has(i) && !members[i].Avoid(rand.Uint32()) {
			return i
		}
	}
	return -1
}

// lastResort returns an untried member that is merely new, where all have been unlucky with their dice:
// better one that warms up than one that is ejected. It is -1 where all are ejected.
func lastResort[M Member](members []M, tried *Tried, from int) int {
	for k := range members {
		i := (from + k) % len(members)
		if !tried.Has(i) && !members[i].Avoid(math.MaxUint32) {
			return i
		}
	}
	return -1
}

// leastRequest is the power of two choices: with two looks it avoids the busiest as well as a look at
// all would, and unlike that it does not send a whole burst to the one that looked best.
type leastRequest[M Member] struct{ members []M }

func (p *leastRequest[M]) Pick(tried *Tried) int {
	n := len(p.members)
	if n == 0 || tried.Len() >= n {
		return -1
	}
	if n == 1 {
		return 0
	}
	r := rand.Uint64()
	if tried.Len() > 0 {
		from := int(r % uint64(n))
		if i := spare(p.members, tried, from); i >= 0 {
			return i
		}
		if i := lastResort(p.members, tried, from); i >= 0 {
			return i
		}
		return pickUntried(n, tried, from)
	}
	a := int(r >> 32 * uint64(n) >> 32)
	b := int(r & (1<<32 - 1) * uint64(n-1) >> 32)
	if b >= a {
		b++
	}
	if lighter(p.members[b], p.members[a]) {
		a, b = b, a
	}
	dice := rand.Uint32()
	switch {
	case !p.members[a].Avoid(dice):
		return a
	case !p.members[b].Avoid(dice):
		return b
	}
	if i := spare(p.members, tried, a); i >= 0 {
		return i
	}
	if i := lastResort(p.members, tried, a); i >= 0 {
		return i
	}
	return a
}

// lighter compares requests in flight per weight, counting the one to come.
func lighter[M Member](x, y M) bool {
	return (x.InFlight()+1)*int64(max(y.Weight(), 1)) < (y.InFlight()+1)*int64(max(x.Weight(), 1))
}

func pickUntried(n int, tried *Tried, from int) int {
	for k := range n {
		if i := (from + k) % n; !tried.Has(i) {
			return i
		}
	}
	return -1
}

// avoiding gives the turns of members that are to be avoided to the next in turn.
type avoiding[M Member] struct {
	members []M
	picker  Picker
}

func (p *avoiding[M]) Pick(tried *Tried) int {
	first := p.picker.Pick(tried)
	if first < 0 || !p.members[first].Avoid(rand.Uint32()) {
		return first
	}
	for range p.members {
		if i := p.picker.Pick(tried); i < 0 || !p.members[i].Avoid(rand.Uint32()) {
			return i
		}
	}
	if i := lastResort(p.members, tried, first); i >= 0 {
		return i
	}
	return first
}

// roundRobin gives each member its turns at even distances: of weight w, at (k+φ)/w for k = 0, 1, …
// The phase φ is each member's own, so that those of equal weight do not come in a row between the turns
// of a heavy one. Those of equal weight come in the same order for ever, so each weight has a ring, and a
// heap of rings yields who is next: memory does not grow with the weights, nor time with the members.
type roundRobin struct {
	mu    sync.Mutex
	rings []ring // guarded by mu; a heap by their next turns
	n     int
}

// ring is the members of one weight. Its turns lie less than a step apart, so the one that was taken comes
// behind all others.
type ring struct {
	step  float64
	turns []turn
	next  int
}

type turn struct {
	at     float64
	member int
}

func newRoundRobin(weights []int) *roundRobin {
	p := &roundRobin{n: len(weights)}
	of := map[int]int{} // the ring of a weight
	for i, w := range weights {
		at, ok := of[w]
		if !ok {
			at = len(p.rings)
			of[w] = at
			p.rings = append(p.rings, ring{step: 1 / float64(w)})
		}
		r := &p.rings[at]
		phase := (float64(i) + 0.5) / float64(len(weights))
		r.turns = append(r.turns, turn{at: r.step * phase, member: i})
	}
	for i := len(p.rings)/2 - 1; i >= 0; i-- {
		p.down(i)
	}
	return p
}

func (p *roundRobin) Pick(tried *Tried) int {
	if p.n == 0 || tried.Len() >= p.n {
		return -1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.n {
		if i := p.take(); !tried.Has(i) {
			return i
		}
	}
	return pickUntried(p.n, tried, 0)
}

// take gives the next member its turn.
func (p *roundRobin) take() int {
	r := &p.rings[0]
	t := &r.turns[r.next]
	if t.at > 1<<40 {
		p.rebase(t.at)
	}
	t.at += r.step
	if r.next++; r.next == len(r.turns) {
		r.next = 0
	}
	if len(p.rings) > 1 {
		p.down(0)
	}
	return t.member
}

// rebase keeps the turns small, where floating point is exact enough.
func (p *roundRobin) rebase(base float64) {
	for _, r := range p.rings {
		for i := range r.turns {
			r.turns[i].at -= base
		}
	}
}

func (p *roundRobin) before(i, j int) bool {
	a, b := p.rings[i].turns[p.rings[i].next], p.rings[j].turns[p.rings[j].next]
	if a.at != b.at {
		return a.at < b.at
	}
	return a.member < b.member
}

func (p *roundRobin) down(i int) {
	for {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(p.rings) && p.before(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		p.rings[i], p.rings[least] = p.rings[least], p.rings[i]
		i = least
	}
}
