package accesslog

import "strconv"

// appendCommon appends a line in the Common Log Format, or with the two fields of the combined one:
//
//	client - - [time] "method target proto" status bytes "referrer" "user agent"
func appendCommon(b []byte, l *Line, p *plan, c *clock) []byte {
	if start := len(b); len(l.appendClient(b, p)) > start {
		b = l.appendClient(b, p)
	} else {
		b = append(b, '-')
	}
	b = append(b, " - - ["...)
	b = c.appendCommon(b, l.Time)
	b = append(b, `] "`...)
	b = appendOrDash(b, l.Method)
	b = append(b, ' ')
	b = appendOrDash(b, p.text(fieldPath, l.Path))
	if len(l.Query) > 0 {
		b = append(b, '?')
		b = p.appendQuery(b, l.Query, commonText)
	}
	b = append(b, ' ')
	b = append(b, l.Proto...)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(max(l.Status, 0)), 10)
	b = append(b, ' ')
	if l.BytesOut > 0 {
		b = strconv.AppendInt(b, l.BytesOut, 10)
	} else {
		b = append(b, '-')
	}
	if p.format == Combined {
		b = l.appendCombined(b, p)
	}
	return append(b, '\n')
}

func (l *Line) appendCombined(b []byte, p *plan) []byte {
	b = append(b, ` "`...)
	var referer []byte
	if l.Headers != nil {
		referer = l.Headers.Get("referer")
	}
	if len(referer) > 0 {
		b = p.appendReferer(b, referer, commonText)
	} else {
		b = append(b, '-')
	}
	b = append(b, `" "`...)
	b = appendOrDash(b, p.text(fieldUserAgent, l.UserAgent))
	return append(b, '"')
}

func appendOrDash(b, s []byte) []byte {
	if len(s) == 0 {
		return append(b, '-')
	}
	return commonText(b, s)
}
