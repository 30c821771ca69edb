package accesslog

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Format is how a line is written.
type Format uint8

// The formats.
const (
	// JSON is an object on a line.
	JSON Format = iota
	// Common is the Common Log Format.
	Common
	// Combined is Common with the referrer and the user agent.
	Combined
)

// Formats returns the words for the formats, JSON's first.
func Formats() []string { return []string{"json", "common", "combined"} }

// ParseFormat reads one of Formats.
func ParseFormat(word string) (Format, error) {
	if i := slices.Index(Formats(), word); i >= 0 {
		return Format(i), nil
	}
	return 0, fmt.Errorf("accesslog: %q is no format; there are %s", word, strings.Join(Formats(), ", "))
}

// Redacted stands where a value was taken out.
const Redacted = "REDACTED"

// Settings say which exchanges have a line, and what it holds.
type Settings struct {
	Format Format
	// Fields of a line of JSON by name, as in Fields, or header.NAME; nil for all but query and referer. The
	// other formats have theirs.
	Fields []string
	// Sample is the share of the successful exchanges that have a line, 0 to 1. Those that failed always have
	// one: with a status from 400 on, without an answer, or with a code.
	Sample float64
	// RedactQuery names the parameters of a query whose values are taken out, without case.
	RedactQuery []string
	// RedactFields names the fields whose values are taken out, as in RedactableFields, or header.NAME.
	RedactFields []string
}

// DefaultSettings returns a line of JSON for every exchange, and the parameters that are known to hold secrets
// redacted.
func DefaultSettings() Settings {
	return Settings{Sample: 1, RedactQuery: []string{
		"token", "access_token", "refresh_token", "id_token", "auth", "authorization", "key", "api_key", "apikey", "api-key",
		"password", "passwd", "pwd", "secret", "client_secret", "code", "sig", "signature", "session", "sessionid", "jwt",
		"x-amz-signature", "x-amz-credential", "x-amz-security-token", "x-goog-signature",
	}}
}

// plan is what Settings come to. It is immutable.
type plan struct {
	format  Format
	fields  fieldSet
	redact  fieldSet
	headers []header
	query   []string // in lower case
	all     bool     // nothing is left out
	sample  float64
}

// newPlan refuses what it does not know.
func newPlan(s *Settings) (*plan, error) {
	p := &plan{format: s.Format, fields: defaultFields, all: s.Sample >= 1, sample: s.Sample}
	if s.Format > Combined {
		return nil, errors.New("accesslog: there is no such format")
	}
	if math.IsNaN(s.Sample) || s.Sample < 0 || s.Sample > 1 {
		return nil, errors.New("accesslog: the sample is not from 0 to 1")
	}
	var headers []string
	var err error
	if s.Fields != nil {
		if s.Format != JSON {
			return nil, errors.New("accesslog: only JSON has chosen fields")
		}
		if p.fields, headers, err = parseFields(s.Fields); err != nil {
			return nil, err
		}
	}
	if len(s.Fields) > MaxFields {
		return nil, fmt.Errorf("accesslog: more than %d fields", MaxFields)
	}
	redact, hidden, err := parseFields(s.RedactFields)
	if err != nil {
		return nil, err
	}
	if redact&^redactable != 0 {
		return nil, errors.New("accesslog: a field is to be redacted that holds nothing of others")
	}
	p.redact = redact
	for _, name := range headers {
		p.headers = append(p.headers, header{
			name: name, key: `,"` + headerPrefix + name + `":`,
			redacted: slices.Contains(hidden, name) || slices.Contains(secretHeaders, name),
		})
	}
	for _, name := range s.RedactQuery {
		p.query = append(p.query, strings.ToLower(name))
	}
	return p, nil
}

// takes reports whether an exchange has a line. Chance decides, and not the trace's id: that is the client's
// to choose.
func (p *plan) takes(l *Line) bool {
	return p.all || l.failed() || rand.Float64() < p.sample
}

// text returns a field's value, or the word that stands for it.
func (p *plan) text(f fieldSet, value []byte) []byte {
	if p.redact&f != 0 && len(value) > 0 {
		return redacted
	}
	return value
}

var redacted = []byte(Redacted)
