package routefile

import (
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/util/nearest"
)

// upgradable are the protocols that a request may become.
var upgradable = []string{"websocket"}

// upgradeFields are the keys about WebSockets that defaults, services and routes share.
func upgradeFields(p *route.Policy) []field {
	return []field{
		{"upgrades", func(v value) { p.Upgrades = v.upgrades() }},
		{"drain", func(v value) { p.Drain = v.durationOrNone() }},
	}
}

// upgrades reads a list that is empty where nothing may be upgraded.
func (v value) upgrades() route.Upgrades {
	out := route.UpgradesNone
	v.list("[websocket], or [] for none", func(v value) {
		s, ok := v.str("websocket")
		switch {
		case !ok:
		case !slices.Contains(upgradable, s):
			v.report(v.place, v.path, shorten(s)+" is no protocol that a request is upgraded to here; there is websocket", nearest.Word(s, upgradable))
		case out == route.UpgradesWebSocket:
			v.wrong("%s is here twice", shorten(s))
		default:
			out = route.UpgradesWebSocket
		}
	})
	return out
}

// durationOrNone reads a duration, or the word that there is none, which is negative.
func (v value) durationOrNone() time.Duration {
	return time.Duration(v.bound(func(v value) int64 { return int64(v.duration()) }))
}
