// Package probe decides when each instance is probed, and what a row of results says of its health.
//
// # Concurrency
//
// A Scheduler has one heap of what is due and a bounded number of workers: an instance costs no
// goroutine. The status of a probe is an immutable value behind an atomic pointer, so that reading
// never waits for a probe. All methods are safe for concurrent use.
package probe

import (
	"cmp"
	"context"
	"net"
	"strconv"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Target is what is probed.
type Target struct {
	// Service, ID and Incarnation of the instance.
	Service     string
	ID          string
	Incarnation uint64
	// Address is a host name or an IP address, as the instance registered it.
	Address string
	// Check has its defaults filled in, the port among them.
	Check mesh.Check
	// Failing says that the word of probes from before this one is failing: it takes Check.Up successes
	// to change it.
	Failing bool
}

// same reports whether two targets are one and the same probe.
func (t *Target) same(o *Target) bool {
	a, b := *t, *o
	a.Failing, b.Failing = false, false
	return a == b
}

// HostPort returns the address to dial.
func (t *Target) HostPort() string { return net.JoinHostPort(t.Address, strconv.Itoa(t.Check.Port)) }

// String returns what is probed, as in "http://10.0.0.7:8080/health" or "tcp 10.0.0.7:8080".
func (t *Target) String() string {
	switch {
	case t.Check.HTTP == "":
		return "tcp " + t.HostPort()
	case t.Check.TLS:
		return "https://" + t.HostPort() + t.Check.HTTP
	}
	return "http://" + t.HostPort() + t.Check.HTTP
}

// Filled returns a check with the defaults of mesh in the place of its zeros, and an instance's own port
// if it names none.
func Filled(c mesh.Check, port int) mesh.Check {
	c.Port = cmp.Or(c.Port, port)
	c.Interval = cmp.Or(c.Interval, mesh.CheckInterval)
	c.Timeout = cmp.Or(c.Timeout, mesh.CheckTimeout)
	c.Up = cmp.Or(c.Up, mesh.CheckUp)
	c.Down = cmp.Or(c.Down, mesh.CheckDown)
	return c
}

// Result is what one probe found.
type Result struct {
	OK bool
	// Output is what was found, in a line that may be shown.
	Output string
}

// Prober makes one probe. It returns when the probe ends or shortly after ctx does, whose deadline is
// that of the whole probe.
type Prober interface {
	Probe(ctx context.Context, t *Target) Result
}

// streak counts results that go the same way, and has the word that they make.
type streak struct {
	ok     bool
	inARow int
	// spoken is false until there was a word; the word is passing until then.
	spoken bool
	word   mesh.Health
}

// take counts a result and reports whether the word is news. The first word of all may be passing after
// one success: whoever began failing waits for nothing else.
func (s *streak) take(ok bool, up, down int) bool {
	if ok != s.ok {
		s.ok, s.inARow = ok, 0
	}
	s.inARow++
	var word mesh.Health
	switch {
	case ok && (!s.spoken || s.inARow >= up):
		word = mesh.Passing
	case !ok && s.inARow >= down:
		word = mesh.Failing
	default:
		return false
	}
	news := !s.spoken || word != s.word
	s.spoken, s.word = true, word
	return news
}
