package routefile

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

var (
	hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
	// numberLabel is a last label that some resolvers read as part of an IPv4 address.
	numberLabel = regexp.MustCompile(`^([0-9]+|0[xX][0-9A-Fa-f]*)$`)
)

// allow widens what a host:port may be.
type allow uint8

const (
	anyPort allow = 1 << iota // port 0, for a free one
	anyHost                   // no host or an unspecified one, for all addresses
)

// wrongHostPort says what is wrong with a host:port, nothing if it is right.
func wrongHostPort(s string, also allow) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return shorten(s) + " is not HOST:PORT"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || port[0] == '+':
		return shorten(s) + " has no port number from 1 to 65535"
	case n == 0 && also&anyPort == 0:
		return shorten(s) + " has port 0, which nothing listens on"
	}
	ip, err := netip.ParseAddr(host)
	unspecified := host == "" || err == nil && ip.Unmap().IsUnspecified()
	switch {
	case unspecified && also&anyHost == 0:
		return shorten(s) + " names no host"
	case err == nil || host == "":
		return ""
	default:
		return wrongHostName(host)
	}
}

// wrongHostName says what is wrong with the name of a host; an IPv4 address is one.
func wrongHostName(s string) string {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Is4() {
		return ""
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if len(s) > 254 || !hostLabel.MatchString(l) {
			return shorten(s) + " is neither an IP address nor a host name"
		}
	}
	if numberLabel.MatchString(labels[len(labels)-1]) {
		return shorten(s) + " ends in a number but is not an IP address"
	}
	return ""
}
