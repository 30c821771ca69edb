package accesslog

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Line is one exchange as the access log tells it. Its slices are only read during Write.
type Line struct {
	Time      time.Time
	Duration  time.Duration
	Client    netip.Addr
	Method    []byte
	Path      []byte // without the query: that is where secrets are
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
	Endpoint      string
	Attempts      int
	Tried         []Attempt     // each of several; nil for one, or none
	Upstream      time.Duration // to the first byte of the answer; 0 for none
	UserAgent     []byte
	Code          string
	Reason        string
	Upgraded      bool
}

// Attempt is one of several attempts, with the code and the detail of what came of it; both are empty for
// one that served.
type Attempt struct{ Endpoint, Code, Reason string }

// maxCorrelation is how much of a correlation id is logged.
const maxCorrelation = 256

// Append appends the line as one JSON object with a newline. Fields that say nothing are left out.
func (l *Line) Append(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = l.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","client":"`...)
	if l.Client.IsValid() {
		b = l.Client.AppendTo(b)
	}
	b = append(b, `","method":`...)
	b = appendString(b, l.Method)
	b = append(b, `,"host":`...)
	b = appendString(b, l.Host)
	b = append(b, `,"path":`...)
	b = appendString(b, l.Path)
	b = append(b, `,"proto":"`...)
	b = append(b, l.Proto...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(l.Status), 10)
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, l.Duration)
	b = append(b, `,"bytes_in":`...)
	b = strconv.AppendInt(b, l.BytesIn, 10)
	b = append(b, `,"bytes_out":`...)
	b = strconv.AppendInt(b, l.BytesOut, 10)
	if l.Service != "" {
		b = append(b, `,"service":`...)
		b = appendString(b, l.Service)
	}
	if l.Endpoint != "" {
		b = append(b, `,"endpoint":`...)
		b = appendString(b, l.Endpoint)
	}
	if l.Attempts > 0 {
		b = append(b, `,"attempts":`...)
		b = strconv.AppendInt(b, int64(l.Attempts), 10)
	}
	b = l.appendTried(b)
	if l.Upstream > 0 {
		b = append(b, `,"upstream_ms":`...)
		b = appendMillis(b, l.Upstream)
	}
	if l.Upgraded {
		b = append(b, `,"upgraded":true`...)
	}
	if l.Code != "" {
		b = append(b, `,"code":"`...)
		b = append(b, l.Code...)
		b = append(b, `","reason":`...)
		b = appendString(b, l.Reason)
	}
	if len(l.UserAgent) > 0 {
		b = append(b, `,"user_agent":`...)
		b = appendString(b, l.UserAgent)
	}
	b = append(b, `,"request_id":`...)
	b = appendString(b, l.RequestID)
	if id := l.CorrelationID; len(id) > 0 {
		b = append(b, `,"correlation_id":`...)
		b = appendString(b, id[:min(len(id), maxCorrelation)])
	}
	b = append(b, `,"trace_id":"`...)
	b = hex.AppendEncode(b, l.TraceID[:])
	return append(b, "\"}\n"...)
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

// appendMillis appends a duration in milliseconds with three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1000, 10)
	return append(b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

// appendString appends a JSON string. Bytes that are no UTF-8 become U+FFFD: a client must not be able
// to break the log.
func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		if s[i] < utf8.RuneSelf {
			b = appendEscaped(b, s[i])
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		b = utf8.AppendRune(b, r)
		i += n
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscaped(b []byte, c byte) []byte {
	if c == '"' || c == '\\' {
		return append(b, '\\', c)
	}
	return append(b, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
}

const lowerHex = "0123456789abcdef"

// plain bytes stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f
	}
	return t
}()
