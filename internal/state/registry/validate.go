package registry

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Limits of what an instance may say of itself.
const (
	// MaxMetadataBytes is the sum of all keys and values.
	MaxMetadataBytes = 64 << 10
	// MaxMetadataKeys is how many keys there may be.
	MaxMetadataKeys = 64
	// MaxMetadataKey is the length of a key.
	MaxMetadataKey = 128
	// MinTTL and MaxTTL bound the lease of a Leased registration.
	MinTTL = time.Second
	MaxTTL = 24 * time.Hour
	// MaxOutput is the length at which the output of a word on health is cut.
	MaxOutput = 4 << 10
	// mostInARow bounds the thresholds of a check.
	mostInARow = 100
)

// NameRule says which names of services are admitted.
type NameRule uint8

const (
	// FamilyNames are 1 to 128 letters, digits, dots, underscores and hyphens.
	FamilyNames NameRule = iota
	// LabelNames are DNS labels: 1 to 63 letters, digits and hyphens, with no hyphen at either end.
	LabelNames
)

var (
	familyName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	idPattern  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?$`)
	hostLabel  = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
	// numberLabel is a last label that some resolvers read as part of an IPv4 address.
	numberLabel = regexp.MustCompile(`^([0-9]+|0[xX][0-9A-Fa-f]*)$`)
)

// Validate checks a registration without regard to who calls or what is registered. The error is a
// *mesh.Error of kind ErrInvalid that names every wrong field.
func Validate(r mesh.Registration, names NameRule) error {
	return invalid(r, wrongFields(r, names))
}

func invalid(r mesh.Registration, fields []mesh.FieldError) error {
	if len(fields) == 0 {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Fields: fields,
		Detail: fmt.Sprintf("the registration of %s is not valid", shorten(r.Service))}
}

// shorten quotes a value of unknown length for a message.
func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:most], ""))
}

func wrongFields(r mesh.Registration, names NameRule) []mesh.FieldError {
	var out []mesh.FieldError
	add := func(field, problem string) {
		if problem != "" {
			out = append(out, mesh.FieldError{Field: field, Problem: problem})
		}
	}
	add("service", wrongService(r.Service, names))
	if r.ID != "" && !idPattern.MatchString(r.ID) {
		add("id", shorten(r.ID)+" is not 1 to 128 letters, digits, dots, underscores, colons and hyphens, a letter or digit at either end")
	}
	if r.Owner != "" && !idPattern.MatchString(r.Owner) {
		add("owner", shorten(r.Owner)+" is not 1 to 128 letters, digits, dots, underscores, colons and hyphens, a letter or digit at either end")
	}
	add("address", wrongAddress(r.Address))
	add("port", wrongPort(r.Port))
	out = append(out, wrongMetadata(r.Metadata)...)
	if r.Check != nil {
		out = append(out, wrongCheck(r.Check)...)
	}
	if r.Lifetime > mesh.Permanent {
		add("lifetime", fmt.Sprintf("%d is none of held (0), leased (1), permanent (2)", r.Lifetime))
	}
	if r.TTL != 0 && (r.TTL < MinTTL || r.TTL > MaxTTL) {
		add("ttl", fmt.Sprintf("%s is not between %s and %s", r.TTL, MinTTL, MaxTTL))
	}
	return out
}

func wrongService(name string, names NameRule) string {
	switch {
	case name == "":
		return "is empty; name the service"
	case mesh.ServiceKey(name) == "dashboard":
		return "dashboard is reserved: its path under the gateway's prefix is the dashboard's own"
	case names == LabelNames && !labelName.MatchString(name):
		return shorten(name) + " is not a DNS label: 1 to 63 letters, digits and hyphens, no hyphen at either end"
	case !familyName.MatchString(name):
		return shorten(name) + " is not 1 to 128 letters, digits, dots, underscores and hyphens"
	}
	return ""
}

func wrongPort(port int) string {
	if port < 1 || port > 65535 {
		return fmt.Sprintf("%d is not between 1 and 65535", port)
	}
	return ""
}

// wrongAddress admits nothing (the caller's address is taken), an IP address, or a host name.
func wrongAddress(a string) string {
	if a == "" {
		return ""
	}
	if ip, err := netip.ParseAddr(a); err == nil {
		switch ip = ip.Unmap(); {
		case ip.Zone() != "":
			return shorten(a) + " has a zone, which means something on its own machine only"
		case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return shorten(a) + " is a group's address, not one instance's"
		}
		return ""
	}
	if _, err := netip.ParseAddrPort(a); err == nil || hasPort(a) {
		return shorten(a) + " carries a port, which belongs into the field port"
	}
	return wrongHostName(a)
}

// hasPort reports whether a reads as name:port.
func hasPort(a string) bool {
	name, port, ok := strings.Cut(a, ":")
	return ok && name != "" && port != "" && strings.Trim(port, "0123456789") == ""
}

func wrongHostName(a string) string {
	name := strings.TrimSuffix(a, ".")
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if len(name) > 253 || !hostLabel.MatchString(l) {
			return shorten(a) + " is neither an IP address nor a host name"
		}
	}
	if numberLabel.MatchString(labels[len(labels)-1]) {
		return shorten(a) + " ends in a number but is not an IP address"
	}
	return ""
}

func wrongMetadata(m map[string]string) []mesh.FieldError {
	var out []mesh.FieldError
	if len(m) > MaxMetadataKeys {
		out = append(out, mesh.FieldError{Field: "metadata",
			Problem: fmt.Sprintf("%d keys are more than %d", len(m), MaxMetadataKeys)})
	}
	size := 0
	var bad []string
	for k, v := range m {
		size += len(k) + len(v)
		if k == "" || len(k) > MaxMetadataKey || !utf8.ValidString(k) || !utf8.ValidString(v) {
			bad = append(bad, k)
		}
	}
	if size > MaxMetadataBytes {
		out = append(out, mesh.FieldError{Field: "metadata",
			Problem: fmt.Sprintf("%d bytes of keys and values are more than %d", size, MaxMetadataBytes)})
	}
	slices.Sort(bad)
	for _, k := range bad[:min(len(bad), MaxMetadataKeys)] {
		out = append(out, mesh.FieldError{Field: "metadata." + strings.ToValidUTF8(k[:min(len(k), MaxMetadataKey)], "?"),
			Problem: fmt.Sprintf("a key has 1 to %d characters, and keys and values are UTF-8", MaxMetadataKey)})
	}
	return out
}

func wrongCheck(c *mesh.Check) []mesh.FieldError {
	var out []mesh.FieldError
	if problem := wrongCheckPath(c.HTTP); problem != "" {
		out = append(out, mesh.FieldError{Field: "check.http", Problem: problem})
	}
	if c.Port != 0 && wrongPort(c.Port) != "" {
		out = append(out, mesh.FieldError{Field: "check.port",
			Problem: wrongPort(c.Port) + "; 0 or nothing is the instance's own"})
	}
	if c.TLS && c.HTTP == "" {
		out = append(out, mesh.FieldError{Field: "check.tls",
			Problem: "is for an HTTP probe, and check.http names no path; a TCP probe speaks no TLS"})
	}
	return out
}

func wrongCheckPath(p string) string {
	if p == "" {
		return ""
	}
	if p[0] != '/' || len(p) > 2048 || strings.ContainsFunc(p, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return shorten(p) + " is not a path that begins with / and has no spaces"
	}
	return ""
}

// clampCheck returns the check with its numbers brought into bounds; zero keeps meaning the default.
func clampCheck(c *mesh.Check) *mesh.Check {
	if c == nil {
		return nil
	}
	out := *c
	out.Interval = clampDuration(c.Interval, time.Second, 24*time.Hour)
	out.Timeout = clampDuration(c.Timeout, 100*time.Millisecond, time.Minute)
	out.Up = min(max(c.Up, 0), mostInARow)
	out.Down = min(max(c.Down, 0), mostInARow)
	return &out
}

func clampDuration(d, least, most time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return min(max(d, least), most)
}

// cleanOutput makes the output of a word fit to be shown: of bounded length, UTF-8, in a line, and without
// characters that steer a terminal or turn the direction of the text around.
func cleanOutput(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(cut(s, MaxOutput), "?"))
	return strings.TrimRight(s, " ")
}

// cut returns the first bytes of s, at most so many, without half a character at the end.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s
}
