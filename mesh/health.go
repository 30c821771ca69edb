package mesh

import (
	"context"
	"fmt"
	"time"
)

// Health is the verdict on an instance. The zero value is Passing: a fresh instance serves before its
// first probe.
type Health uint8

const (
	// Passing instances are picked.
	Passing Health = iota
	// Degraded instances are a last resort: picked only when no instance is passing.
	Degraded
	// Failing instances are not picked.
	Failing
	// Suspect instances vanished together with most of their service; they are a last resort and are
	// dropped one lease later.
	Suspect
)

var healthNames = [...]string{Passing: "passing", Degraded: "degraded", Failing: "failing", Suspect: "suspect"}

// String returns the lower-case word of the glossary, "passing" and so on.
func (h Health) String() string {
	if int(h) < len(healthNames) {
		return healthNames[h]
	}
	return fmt.Sprintf("health(%d)", uint8(h))
}

// ParseHealth reads the word that String writes. Any other word is an ErrInvalid.
func ParseHealth(s string) (Health, error) {
	for h, name := range healthNames {
		if s == name {
			return Health(h), nil
		}
	}
	return 0, &Error{Kind: ErrInvalid, Code: CodeInvalid,
		Detail: fmt.Sprintf("health %q is none of passing, degraded, failing", s)}
}

// MarshalText writes the word.
func (h Health) MarshalText() ([]byte, error) {
	if int(h) >= len(healthNames) {
		return nil, fmt.Errorf("health %d has no word", uint8(h))
	}
	return []byte(healthNames[h]), nil
}

// UnmarshalText reads the word.
func (h *Health) UnmarshalText(b []byte) error {
	v, err := ParseHealth(string(b))
	if err != nil {
		return err
	}
	*h = v
	return nil
}

// The sources of words on an instance's health. Session and lease tell of signs of life and come before
// the others; of report and probe the worse word counts.
const (
	// SourceReport is the instance's own word.
	SourceReport = "report"
	// SourceProbe is the word of the node that probes the instance.
	SourceProbe = "probe"
	// SourceSession is the end of the session's connection.
	SourceSession = "session"
	// SourceLease is a lease that was not renewed.
	SourceLease = "lease"
)

// Evidence is the last word of one source on an instance's health.
type Evidence struct {
	// Source is SourceReport, SourceProbe, SourceSession or SourceLease.
	Source string
	Health Health
	// Output is what the source said with it; it may be empty.
	Output string
	// At is when the source changed its word.
	At time.Time
}

// Judge takes the word of probes.
type Judge interface {
	// Judge joins a probe's word into the instance's health. It does not renew the lease, and writes
	// nothing if the probe's word on this incarnation is the same already; the first passing word is
	// none either, unless the instance began failing. ErrNotFound if the instance is gone, ErrStale if
	// another incarnation took its place.
	Judge(ctx context.Context, ref Ref, rep Report) error
}

// Probing is what the health role offers.
type Probing interface {
	// Probes returns the state of every probe that this node makes, of one service (any spelling) or,
	// with an empty name, of all, sorted by service and instance.
	Probes(ctx context.Context, service string) ([]ProbeStatus, error)
	// ProbeNow probes an instance once, at once, and returns what came of it; the result counts like that
	// of any other probe. ErrNotFound if the instance is gone, ErrInvalid if it has no check.
	ProbeNow(ctx context.Context, id string) (ProbeStatus, error)
}

// ProbeStatus is the state of the probe of one instance. It is soft: it lives in the memory of the node
// that probes.
type ProbeStatus struct {
	// ID and Service of the instance, and the incarnation that was probed.
	ID          string
	Service     string
	Incarnation uint64
	// Check is what is probed, with its defaults filled in.
	Check Check
	// Target is what is probed, as in "http://10.0.0.7:8080/health" or "tcp 10.0.0.7:8080".
	Target string
	// At is when the last probe began; zero before the first.
	At time.Time
	// Took is how long it took.
	Took time.Duration
	// OK is whether it succeeded.
	OK bool
	// Output is what it found, in a line.
	Output string
	// InARow counts the probes that went like the last.
	InARow int
	// Health is the probe's word after its thresholds; Passing before the first probe.
	Health Health
}
