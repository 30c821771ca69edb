package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// requestLines is the access log as a person reads it on a terminal: what is written to it as JSON
// comes out as one short line for each request. It is written by one goroutine.
type requestLines struct {
	w       io.Writer
	colours bool
	begun   []byte // of a line whose end has not come
}

// requestLine is what is shown of a line of the access log.
type requestLine struct {
	Time       time.Time `json:"time"`
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	Status     int       `json:"status"`
	DurationMS float64   `json:"duration_ms"`
	Service    string    `json:"service"`
	Endpoint   string    `json:"endpoint"`
	Attempts   int       `json:"attempts"`
	Upgraded   bool      `json:"upgraded"`
	Code       string    `json:"code"`
	Reason     string    `json:"reason"`
}

// Write implements io.Writer.
func (r *requestLines) Write(p []byte) (int, error) {
	var out bytes.Buffer
	for line := range bytes.Lines(append(r.begun, p...)) {
		r.begun = nil
		if !bytes.HasSuffix(line, []byte("\n")) {
			r.begun = bytes.Clone(line)
			break
		}
		r.show(&out, line)
	}
	if _, err := r.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (r *requestLines) show(out *bytes.Buffer, line []byte) {
	var l requestLine
	if err := json.Unmarshal(line, &l); err != nil {
		out.Write(line)
		return
	}
	colour, end := "", ""
	if r.colours {
		colour, end = l.colour(), plain
	}
	fmt.Fprintf(out, "%s %s%d%s %-4s %-18s %s  %s", l.Time.Local().Format(time.TimeOnly), colour, l.Status, end,
		printable(l.Method), printable(l.Path), took(l.DurationMS), printable(l.outcome()))
	// A request that no service was asked for has no outcome but its status.
	for bytes.HasSuffix(out.Bytes(), []byte(" ")) {
		out.Truncate(out.Len() - 1)
	}
	out.WriteByte('\n')
}

func (l *requestLine) colour() string {
	switch {
	case l.Status >= 500 || l.Status == 0:
		return red
	case l.Status >= 400 || l.Attempts > 1:
		return yellow
	}
	return green
}

// outcome is who answered, after how many attempts, and what went wrong.
func (l *requestLine) outcome() string {
	var facts []string
	if who := strings.TrimSpace(l.asked() + " " + l.Endpoint); who != "" {
		facts = append(facts, who)
	}
	if l.Attempts > 1 {
		facts = append(facts, count(l.Attempts, "attempt"))
	}
	if l.Upgraded {
		facts = append(facts, "upgraded")
	}
	if l.Code != "" {
		facts = append(facts, l.Code+": "+l.Reason)
	}
	return strings.Join(facts, ", ")
}

// asked is the service that was asked, if the path does not name it.
func (l *requestLine) asked() string {
	if strings.Contains(strings.ToLower(l.Path)+"/", "/"+strings.ToLower(l.Service)+"/") {
		return ""
	}
	return l.Service
}

func took(ms float64) string {
	if ms < 10_000 {
		return fmt.Sprintf("%6.1f ms", ms)
	}
	return fmt.Sprintf("%7.1f s", ms/1000)
}
