package accesslog

import (
	"encoding/hex"
	"strconv"
	"time"
)

// maxCorrelation is how much of a correlation id is logged, and maxHeader of a header.
const (
	maxCorrelation = 256
	maxHeader      = 1024
)

// appendJSON appends a line as one object.
func appendJSON(b []byte, l *Line, p *plan, c *clock) []byte {
	start := len(b)
	f := p.fields
	if f&fieldTime != 0 {
		b = append(b, `,"time":"`...)
		b = c.appendISO(b, l.Time)
		b = append(b, '"')
	}
	b = l.appendRequest(b, p)
	if f&fieldStatus != 0 {
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(l.Status), 10)
	}
	if f&fieldDuration != 0 {
		b = append(b, `,"duration_ms":`...)
		b = appendMillis(b, l.Duration)
	}
	if f&fieldBytesIn != 0 {
		b = append(b, `,"bytes_in":`...)
		b = strconv.AppendInt(b, l.BytesIn, 10)
	}
	if f&fieldBytesOut != 0 {
		b = append(b, `,"bytes_out":`...)
		b = strconv.AppendInt(b, l.BytesOut, 10)
	}
	b = l.appendUpstream(b, p)
	b = l.appendFailure(b, p)
	b = l.appendHeaders(b, p)
	b = l.appendIDs(b, p)
	if len(b) == start {
		return append(b, "{}\n"...)
	}
	b[start] = '{' // the first comma
	return append(b, "}\n"...)
}

// appendRequest appends what was asked.
func (l *Line) appendRequest(b []byte, p *plan) []byte {
	f := p.fields
	if f&fieldClient != 0 {
		b = append(b, `,"client":"`...)
		b = l.appendClient(b, p)
		b = append(b, '"')
	}
	if f&fieldMethod != 0 {
		b = append(b, `,"method":`...)
		b = appendString(b, l.Method)
	}
	if f&fieldHost != 0 {
		b = append(b, `,"host":`...)
		b = appendString(b, p.text(fieldHost, l.Host))
	}
	if f&fieldPath != 0 {
		b = append(b, `,"path":`...)
		b = appendString(b, p.text(fieldPath, l.Path))
	}
	if f&fieldQuery != 0 && len(l.Query) > 0 {
		b = append(b, `,"query":"`...)
		b = p.appendQuery(b, l.Query, jsonText)
		b = append(b, '"')
	}
	if f&fieldProto != 0 {
		b = append(b, `,"proto":"`...)
		b = append(b, l.Proto...)
		b = append(b, '"')
	}
	return b
}

func (l *Line) appendClient(b []byte, p *plan) []byte {
	switch {
	case !l.Client.IsValid():
		return b
	case p.redact&fieldClient != 0:
		return append(b, Redacted...)
	}
	return l.Client.WithZone("").AppendTo(b)
}

// appendUpstream appends who answered, and how long the parts of it took.
func (l *Line) appendUpstream(b []byte, p *plan) []byte {
	f := p.fields
	if f&fieldService != 0 && l.Service != "" {
		b = append(b, `,"service":`...)
		b = appendString(b, l.Service)
	}
	if f&fieldRoute != 0 && l.Route != "" {
		b = append(b, `,"route":`...)
		b = appendString(b, l.Route)
	}
	if f&fieldEndpoint != 0 && l.Endpoint != "" {
		b = append(b, `,"endpoint":`...)
		b = appendString(b, l.Endpoint)
	}
	if f&fieldAttempts != 0 && l.Attempts > 0 {
		b = append(b, `,"attempts":`...)
		b = strconv.AppendInt(b, int64(l.Attempts), 10)
	}
	if f&fieldAttempts != 0 {
		b = l.appendTried(b)
	}
	if f&fieldUpstream != 0 && l.Upstream > 0 {
		b = append(b, `,"upstream_ms":`...)
		b = appendMillis(b, l.Upstream)
	}
	if f&fieldPhases != 0 {
		b = l.Phases.append(b)
	}
	if f&fieldUpgraded != 0 && l.Upgraded {
		b = append(b, `,"upgraded":true`...)
	}
	return b
}

func (h *Phases) append(b []byte) []byte {
	b = appendPhase(b, `,"accept_ms":`, h.Accept)
	b = appendPhase(b, `,"tls_ms":`, h.TLS)
	b = appendPhase(b, `,"parse_ms":`, h.Parse)
	b = appendPhase(b, `,"match_ms":`, h.Match)
	b = appendPhase(b, `,"policy_ms":`, h.Policy)
	b = appendPhase(b, `,"queue_ms":`, h.Queue)
	b = appendPhase(b, `,"dial_ms":`, h.Dial)
	b = appendPhase(b, `,"wait_ms":`, h.Wait)
	b = appendPhase(b, `,"body_ms":`, h.Body)
	if h.Reused {
		b = append(b, `,"reused":true`...)
	}
	return b
}

// appendPhase leaves out what is nothing in the digits that are shown.
func appendPhase(b []byte, key string, d time.Duration) []byte {
	if d < time.Microsecond {
		return b
	}
	return appendMillis(append(b, key...), d)
}

// appendFailure appends what went wrong.
func (l *Line) appendFailure(b []byte, p *plan) []byte {
	f := p.fields
	if l.Code == "" {
		return b
	}
	if f&fieldCode != 0 {
		b = append(b, `,"code":"`...)
		b = append(b, l.Code...)
		b = append(b, '"')
		if l.Phase != "" {
			b = append(b, `,"phase":"`...)
			b = append(b, l.Phase...)
			b = append(b, '"')
		}
	}
	if f&fieldReason != 0 {
		b = append(b, `,"reason":`...)
		if p.redact&fieldReason != 0 {
			b = appendString(b, Redacted)
		} else {
			b = appendString(b, l.Reason)
		}
	}
	return b
}

func (l *Line) appendHeaders(b []byte, p *plan) []byte {
	if p.fields&fieldUserAgent != 0 && len(l.UserAgent) > 0 {
		b = append(b, `,"user_agent":`...)
		b = appendString(b, p.text(fieldUserAgent, l.UserAgent))
	}
	if l.Headers == nil {
		return b
	}
	if p.fields&fieldReferer != 0 {
		if v := l.Headers.Get("referer"); len(v) > 0 {
			b = append(b, `,"referer":"`...)
			b = p.appendReferer(b, v, jsonText)
			b = append(b, '"')
		}
	}
	for i := range p.headers {
		h := &p.headers[i]
		v := l.Headers.Get(h.name)
		if v == nil {
			continue
		}
		if h.redacted {
			v = redacted
		}
		b = append(b, h.key...)
		b = appendString(b, v[:min(len(v), maxHeader)])
	}
	return b
}

func (l *Line) appendIDs(b []byte, p *plan) []byte {
	f := p.fields
	if f&fieldRequestID != 0 {
		b = append(b, `,"request_id":`...)
		b = appendString(b, p.text(fieldRequestID, l.RequestID))
	}
	if id := l.CorrelationID; f&fieldCorrelationID != 0 && len(id) > 0 {
		b = append(b, `,"correlation_id":`...)
		b = appendString(b, p.text(fieldCorrelationID, id[:min(len(id), maxCorrelation)]))
	}
	if f&fieldTraceID != 0 {
		b = append(b, `,"trace_id":"`...)
		b = hex.AppendEncode(b, l.TraceID[:])
		b = append(b, '"')
	}
	return b
}

// appendMillis appends a duration in milliseconds with three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1000, 10)
	return append(b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}
