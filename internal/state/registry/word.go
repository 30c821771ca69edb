package registry

import (
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Verdict names the source of a word on an instance's health, or the one whose word the verdict is.
type Verdict string

const (
	// ByNobody is the health that the registration began with.
	ByNobody Verdict = ""
	// ByReport is the instance's own word.
	ByReport Verdict = mesh.SourceReport
	// ByProbe is the word of the node that probes the instance.
	ByProbe Verdict = mesh.SourceProbe
	// BySession is the end of the session's connection.
	BySession Verdict = mesh.SourceSession
	// ByLease is a lease that was not renewed.
	ByLease Verdict = mesh.SourceLease
)

// soft reports whether a sign of life takes the source's word back.
func (v Verdict) soft() bool { return v == BySession || v == ByLease }

// Word is the last word of one source.
type Word struct {
	By     Verdict     `json:"by"`
	Health mesh.Health `json:"health"`
	Output string      `json:"output,omitempty"`
	// At is when the source changed its word.
	At time.Time `json:"at"`
}

// word returns the last word of a source.
func (r *Record) word(by Verdict) (Word, bool) {
	for _, w := range r.Words {
		if w.By == by {
			return w, true
		}
	}
	return Word{}, false
}

// news reports whether a word tells anything that the record does not know: another health than the
// source's last one, or the first that is not what the registration began with. A first passing word on an
// instance that began so is none, so that those who say again and again that all is well cost no writes.
func (r *Record) news(w Word) bool {
	last, spoken := r.word(w.By)
	if !spoken {
		return w.Health != mesh.Passing || r.Began != mesh.Passing
	}
	return w.Health != last.Health
}

// say keeps a word in the place of its source's last one, and joins. There is at most one soft word: the
// later replaces the earlier. The words of r may be shared with other copies of the record, and are not
// modified.
func (r *Record) say(w Word) {
	now := w.At
	if last, spoken := r.word(w.By); spoken && last.Health == w.Health {
		w.At = last.At
	}
	words := make([]Word, 0, len(r.Words)+1)
	for _, was := range r.Words {
		if was.By != w.By && !(was.By.soft() && w.By.soft()) {
			words = append(words, was)
		}
	}
	r.Words = append(words, w)
	slices.SortFunc(r.Words, func(a, b Word) int { return strings.Compare(string(a.By), string(b.By)) })
	r.join(now)
}

// revive takes a soft word back, and reports whether there was one. What shows then is what the others
// say.
func (r *Record) revive() bool {
	if !r.hear() {
		return false
	}
	r.join(time.Now().UTC())
	return true
}

// hear drops a soft word, and reports whether there was one. The verdict is the old one until the words are
// joined.
func (r *Record) hear() bool {
	words := make([]Word, 0, len(r.Words))
	for _, w := range r.Words {
		if !w.By.soft() {
			words = append(words, w)
		}
	}
	if len(words) == len(r.Words) {
		return false
	}
	r.Words = words
	return true
}

// join makes one verdict of the words. A soft one, which tells of life, wins; otherwise the worse of report
// and probe counts (neither of them says suspect), and the earlier of two that are as bad. Until one of them
// has spoken it is the health that the registration began with. now is when a health that changes does so.
func (r *Record) join(now time.Time) {
	won := Word{By: ByNobody, Health: r.Began}
	for _, w := range r.Words {
		switch {
		case w.By.soft():
			r.decide(w, now)
			return
		case won.By == ByNobody, w.Health > won.Health,
			w.Health == won.Health && w.At.Before(won.At):
			won = w
		}
	}
	r.decide(won, now)
}

// decide makes a word the verdict. Who takes the same health over from another does not make it begin anew.
func (r *Record) decide(w Word, now time.Time) {
	if w.Health != r.Health || r.HealthAt.IsZero() && w.By != ByNobody {
		r.HealthAt = now
	}
	r.Health, r.HealthOutput, r.Verdict = w.Health, w.Output, w.By
}

// adopt makes the words of a record whose writer kept the verdict alone, and the health to return to when a
// soft one is taken back.
func (r *Record) adopt(before mesh.Health) {
	if r.Verdict == ByNobody {
		r.Began = r.Health
		return
	}
	if r.Verdict.soft() {
		r.Began = before
	}
	r.Words = []Word{{By: r.Verdict, Health: r.Health, Output: r.HealthOutput, At: r.HealthAt}}
}

// evidence returns the words as handed out.
func (r *Record) evidence() []mesh.Evidence {
	if len(r.Words) == 0 {
		return nil
	}
	out := make([]mesh.Evidence, 0, len(r.Words))
	for _, w := range r.Words {
		out = append(out, mesh.Evidence{Source: string(w.By), Health: w.Health, Output: w.Output, At: w.At})
	}
	return out
}
