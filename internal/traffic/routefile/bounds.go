package routefile

import (
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// none is the word for no bound.
const none = "none"

// limitFields are the keys of limits that the listener, services and routes share.
func limitFields(p *route.Policy) []field {
	return []field{
		{"body", func(v value) { p.Body = v.bound(func(v value) int64 { return int64(v.size(1, 1<<40)) }) }},
		{"body_rate", func(v value) { p.Rate = v.bound(func(v value) int64 { return int64(v.size(1, 1<<30)) }) }},
	}
}

// limitsOf reads the limits of a service or a route.
func limitsOf(p *route.Policy) field {
	return field{"limits", func(v value) { v.fields(limitFields(p)) }}
}

// bound reads a value or the word that there is none, which is -1.
func (v value) bound(read func(value) int64) int64 {
	if (v.form == plainText || v.form == quotedText) && v.text == none {
		return -1
	}
	return read(v)
}
