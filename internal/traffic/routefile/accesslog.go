package routefile

import (
	"slices"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/util/nearest"
)

// AccessLog says where the access log goes, and what is in it.
type AccessLog struct {
	// File is a path, AccessLogStdout or AccessLogOff; empty if it was not given.
	File string
	// Settings are the whole of what was said with the defaults; nil if nothing was.
	Settings *accesslog.Settings
}

// What AccessLog.File may say besides a path, as the flag --access-log does.
const (
	AccessLogStdout = "-"
	AccessLogOff    = "off"
)

// The bounds of what may be redacted.
const (
	maxRedacted      = 256
	maxRedactedBytes = 64
)

func (p *parsing) accessLog(v value) {
	s := accesslog.DefaultSettings()
	at := &p.file.AccessLog
	at.Settings = &s
	v.fields([]field{
		{"file", func(v value) { at.File = v.accessLogFile() }},
		{"format", func(v value) {
			if word, ok := v.word(accesslog.Formats()...); ok {
				s.Format, _ = accesslog.ParseFormat(word)
			}
		}},
		{"fields", func(v value) {
			s.Fields = v.logFields(accesslog.Fields())
			if v.form == list && len(v.items) == 0 {
				v.wrong("is empty; leave it out to have the fields that are there by default, or turn the log off with file: off")
			}
		}},
		{"sample", func(v value) {
			if share, ok := v.percent(); ok {
				s.Sample = share
			}
		}},
		{"redact", func(v value) {
			v.fields([]field{
				{"query", func(v value) { s.RedactQuery = append(s.RedactQuery, v.parameters()...) }},
				{"fields", func(v value) { s.RedactFields = v.logFields(accesslog.RedactableFields()) }},
			})
		}},
	})
	if s.Fields != nil && s.Format != accesslog.JSON {
		v.report(v.at("fields"), join(v.path, "fields"), "fields are chosen for the format json; common and combined have theirs", "")
	}
}

func (v value) accessLogFile() string {
	s, ok := v.str("/var/log/toska/access.log")
	switch {
	case !ok:
		return ""
	case s == "stdout":
		return AccessLogStdout
	case strings.ContainsRune(s, 0):
		v.wrong("%s is no path", shorten(s))
		return ""
	}
	return s
}

// logFields reads a list of names of known fields, and of headers.
func (v value) logFields(known []string) []string {
	out := []string{}
	v.list("[time, method, path, status]", func(v value) {
		s, ok := v.str("status")
		switch {
		case !ok:
		case slices.Contains(out, s):
			v.wrong("%s is here twice", shorten(s))
		case slices.Contains(known, s):
			out = append(out, s)
		case strings.HasPrefix(s, "header.") && accesslog.ValidField(s):
			if len(out) < accesslog.MaxFields {
				out = append(out, s)
				return
			}
			v.wrong("is one field too many; there may be %d", accesslog.MaxFields)
		case strings.HasPrefix(s, "header."):
			v.wrong("%s is no header; it wants header. and a name in lower case, such as header.accept-language", shorten(s))
		default:
			v.report(v.place, v.path, shorten(s)+" is no field here; there are "+strings.Join(known, ", ")+" and header.NAME", nearest.Word(s, known))
		}
	})
	return out
}

// parameters reads the names of parameters of a query.
func (v value) parameters() []string {
	var out []string
	if v.form == list && len(v.items) > maxRedacted {
		v.wrong("has more than %d names", maxRedacted)
		return nil
	}
	v.list("[token, sid]", func(v value) {
		s, ok := v.str("token")
		switch {
		case !ok:
		case len(s) > maxRedactedBytes || strings.ContainsAny(s, "=&;"):
			v.wrong("%s is no name of a parameter: up to %d bytes without =, & and ;, as it is before it is encoded", shorten(s), maxRedactedBytes)
		default:
			out = append(out, s)
		}
	})
	return out
}
