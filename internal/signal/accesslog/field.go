package accesslog

import (
	"fmt"
	"slices"
	"strings"
)

// fieldSet holds fields of a line, one bit each.
type fieldSet uint32

// The fields of a line.
const (
	fieldTime fieldSet = 1 << iota
	fieldClient
	fieldMethod
	fieldHost
	fieldPath
	fieldQuery
	fieldProto
	fieldStatus
	fieldDuration
	fieldBytesIn
	fieldBytesOut
	fieldService
	fieldRoute
	fieldEndpoint
	fieldAttempts
	fieldUpstream
	fieldPhases
	fieldUpgraded
	fieldCode
	fieldReason
	fieldUserAgent
	fieldReferer
	fieldRequestID
	fieldCorrelationID
	fieldTraceID
)

// fieldNames has the fields' names in the order of their bits, which is that of a line.
var fieldNames = []string{
	"time", "client", "method", "host", "path", "query", "proto", "status", "duration_ms", "bytes_in", "bytes_out", "service",
	"route", "endpoint", "attempts", "upstream_ms", "phases", "upgraded", "code", "reason", "user_agent", "referer", "request_id",
	"correlation_id", "trace_id",
}

const (
	allFields fieldSet = 1<<25 - 1
	// defaultFields leave out where clients keep secrets.
	defaultFields = allFields &^ (fieldQuery | fieldReferer)
	// redactable are the fields that hold what others say; the rest are numbers, and words of our own.
	redactable = fieldClient | fieldHost | fieldPath | fieldQuery | fieldReason | fieldUserAgent | fieldReferer | fieldRequestID | fieldCorrelationID
)

// headerPrefix begins the name of a field that is a header of the request.
const headerPrefix = "header."

// MaxFields is how many fields a line may have, headers among them.
const MaxFields = 48

// secretHeaders are shown redacted, whoever asks for them.
var secretHeaders = []string{"authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"}

// header is a header of the request that a line has.
type header struct {
	name     string
	key      string // with the quotes, and what is around them
	redacted bool
}

// Fields returns the names of the fields that a line may have, in its order; header.NAME, with any name in
// lower case, is one besides.
func Fields() []string { return slices.Clone(fieldNames) }

// RedactableFields returns the names of the fields that can be redacted; header.NAME is one besides.
func RedactableFields() []string {
	return slices.DeleteFunc(Fields(), func(name string) bool { return bit(name)&redactable == 0 })
}

// ValidField reports whether a line may have the field.
func ValidField(name string) bool {
	if h, ok := strings.CutPrefix(name, headerPrefix); ok {
		return validHeader(h)
	}
	return slices.Contains(fieldNames, name)
}

func bit(name string) fieldSet {
	i := slices.Index(fieldNames, name)
	if i < 0 {
		return 0
	}
	return 1 << i
}

func validHeader(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-')
	})
}

// parseFields reads a list of names.
func parseFields(names []string) (set fieldSet, headers []string, err error) {
	for _, name := range names {
		h, isHeader := strings.CutPrefix(name, headerPrefix)
		switch b := bit(name); {
		case b != 0:
			set |= b
		case isHeader && validHeader(h):
			headers = append(headers, h)
		default:
			return 0, nil, fmt.Errorf("accesslog: there is no field %q", name)
		}
	}
	return set, headers, nil
}
