package accesslog

import (
	"net/netip"
	"time"
)

// Line is one exchange as the access log tells it. Its slices are only read during Write.
type Line struct {
	// Lane tells apart those who write at once, and need not wait for each other: the lines of one lane keep
	// their order.
	Lane      int
	Time      time.Time
	Duration  time.Duration
	Client    netip.Addr
	Method    []byte
	Path      []byte // without the query: that is where secrets are
	Query     []byte // as it was received
	Host      []byte
	Proto     string
	Status    int
	BytesIn   int64
	BytesOut  int64
	RequestID []byte
	// CorrelationID is the client's own, as it was sent; a long one is cut.
	CorrelationID []byte
	TraceID       [16]byte
	Service       string
	Route         string // configured ones only
	Endpoint      string
	Attempts      int
	Tried         []Attempt     // each of several; nil for one, or none
	Upstream      time.Duration // to the first byte of the answer; 0 for none
	Phases        Phases
	Phase         string // in which it failed, told with Code
	UserAgent     []byte
	Code          string
	Reason        string
	Upgraded      bool
	// Headers of the request, for those that are chosen; nil for none.
	Headers Headers
}

// Attempt is one of several attempts, with the code and the detail of what came of it; both are empty for
// one that served.
type Attempt struct{ Endpoint, Code, Reason string }

// Phases are how long the parts of an exchange took; zero ones are left out.
type Phases struct {
	Accept, TLS, Parse, Match, Policy, Queue, Dial, Wait, Body time.Duration
	// Reused says that nothing was dialled.
	Reused bool
}

// Headers are those of a request.
type Headers interface {
	// Get returns the value of the first of a name, without case; nil for none.
	Get(name string) []byte
}

// failed tells those that always have a line.
func (l *Line) failed() bool { return l.Code != "" || l.Status < 100 || l.Status >= 400 }

// Append appends the line as one JSON object with a newline, with the fields that are there by default. What
// says nothing is left out.
func (l *Line) Append(b []byte) []byte {
	return appendJSON(b, l, &plan{fields: defaultFields}, &clock{})
}

func (l *Line) appendTried(b []byte) []byte {
	for i := range l.Tried {
		a := &l.Tried[i]
		if i == 0 {
			b = append(b, `,"tried":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(b, `{"endpoint":`...)
		b = appendString(b, a.Endpoint)
		if a.Code != "" {
			b = append(b, `,"code":"`...)
			b = append(b, a.Code...)
			b = append(b, `","reason":`...)
			b = appendString(b, a.Reason)
		}
		b = append(b, '}')
	}
	if len(l.Tried) > 0 {
		b = append(b, ']')
	}
	return b
}
