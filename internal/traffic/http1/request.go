package http1

import (
	"bytes"
	"errors"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// request is a parsed head with what only the connection needs to know of it.
type request struct {
	exchange.Request
	framing
	expect bool   // the client waits for 100 Continue
	path   []byte // room for a path that is not canonical as received
}

var (
	errRequestLine = bad("the request line is not METHOD SP target SP HTTP/1.1")
	errTarget      = &exchange.ClientError{Status: 400, Code: exchange.CodeBadPath, Detail: "the request target holds a character that must be encoded"}
	errTargetForm  = &exchange.ClientError{Status: 400, Code: exchange.CodeBadPath, Detail: "the request target is neither a path nor an http address"}
	errTargetLong  = &exchange.ClientError{Status: 414, Code: exchange.CodeURITooLong, Detail: "the request target is too long"}
	errVersion     = &exchange.ClientError{Status: 505, Code: exchange.CodeVersion, Detail: "only HTTP/1.0 and HTTP/1.1 are spoken here"}
	errMethod      = &exchange.ClientError{Status: 405, Code: exchange.CodeMethod, Detail: "CONNECT and TRACE are not served"}
	errHost        = &exchange.ClientError{Status: 400, Code: exchange.CodeBadHost, Detail: "Host is missing, given twice or malformed"}
	errExpect      = &exchange.ClientError{Status: 417, Code: exchange.CodeExpect, Detail: "the only expectation that is met is 100-continue"}
)

// reset readies r for the next head and keeps its room.
func (r *request) reset() {
	*r = request{
		Request: exchange.Request{Fields: r.Fields[:0], Nominated: r.Nominated[:0], Via: r.Via[:0], ID: r.ID[:0]},
		path:    r.path[:0],
	}
}

// parse reads a head from the front of buf and returns how long it is. errIncomplete asks for more
// bytes; every other error is a *exchange.ClientError, after which the connection cannot go on. r must
// be reset.
func (r *request) parse(buf []byte, lim *Limits) (int, error) {
	pos := 0
	if len(buf) >= 2 && buf[0] == '\r' && buf[1] == '\n' {
		pos = 2 // one empty line before a request is overlooked (RFC 9112 section 2.2)
	}
	line, next, err := nextLine(buf, pos)
	if err != nil {
		if errors.Is(err, errIncomplete) && len(buf)-pos > lim.TargetBytes+64 {
			err = errTargetLong
		}
		return 0, err
	}
	if err := r.parseLine(line, lim); err != nil {
		return 0, err
	}
	r.Fields, next, err = parseFields(buf, next, lim, r.Fields)
	if err != nil {
		return 0, err
	}
	if next > lim.HeadBytes {
		return 0, errHeadTooLong
	}
	if err := r.noteFields(); err != nil {
		return 0, err
	}
	return next, r.settle()
}

// parseLine reads METHOD SP target SP HTTP/1.x (RFC 9112 section 3).
func (r *request) parseLine(line []byte, lim *Limits) error {
	sp1 := bytes.IndexByte(line, ' ')
	sp2 := bytes.LastIndexByte(line, ' ')
	if sp1 <= 0 || sp2 <= sp1+1 {
		return errRequestLine
	}
	r.Method, r.Target = line[:sp1], line[sp1+1:sp2]
	if !all(r.Method, &tchar) || bytes.IndexByte(r.Target, ' ') >= 0 {
		return errRequestLine
	}
	minor, err := parseVersion(line[sp2+1:])
	if err != nil {
		return err
	}
	r.Minor = minor
	if len(r.Target) > lim.TargetBytes {
		return errTargetLong
	}
	if !all(r.Target, &targetOctet) {
		return errTarget
	}
	return nil
}

func parseVersion(v []byte) (minor int, err error) {
	switch string(v) {
	case "HTTP/1.1":
		return 1, nil
	case "HTTP/1.0":
		return 0, nil
	}
	rest, ok := bytes.CutPrefix(v, []byte("HTTP/"))
	if !ok {
		return 0, errRequestLine
	}
	major, minorDigits, dot := bytes.Cut(rest, []byte("."))
	_, ok1 := parseDigits(major)
	_, ok2 := parseDigits(minorDigits)
	if ok1 && (ok2 || !dot) {
		return 0, errVersion
	}
	return 0, errRequestLine
}

// noteFields takes in what the fields say to this hop.
func (r *request) noteFields() error {
	hosts := 0
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Kind {
		case exchange.Plain:
		case exchange.Host:
			hosts++
			r.Host = f.Value
		case exchange.Expect:
			if r.Minor == 0 {
				break // HTTP/1.0 cannot expect (RFC 9110 section 10.1.1)
			}
			if !exchange.EqualFold(f.Value, "100-continue") {
				return errExpect
			}
			r.expect = true
		case exchange.Upgrade:
			r.WebSocket = exchange.EqualFold(f.Value, "websocket")
		case exchange.TE:
			r.Trailers = exchange.HasToken(f.Value, "trailers")
		default:
			var err error
			if r.Nominated, err = r.note(f, r.Nominated); err != nil {
				return err
			}
		}
	}
	if hosts > 1 || hosts == 0 && r.Minor == 1 || hosts == 1 && !validHost(r.Host) {
		return errHost
	}
	return nil
}

// settle decides what the whole head means.
func (r *request) settle() error {
	if err := r.check(r.Minor); err != nil {
		return err
	}
	switch string(r.Method) {
	case "CONNECT", "TRACE":
		return errMethod
	}
	r.Length = r.length
	r.WebSocket = r.WebSocket && r.upgrade && r.Minor == 1 && string(r.Method) == "GET" && r.Length == 0
	if r.Minor == 0 && !r.keep {
		r.close = true
	}
	if r.Length == 0 {
		r.expect = false
	}
	return r.splitTarget()
}

// splitTarget finds authority, path and query in the target (RFC 9112 section 3.2).
func (r *request) splitTarget() error {
	t := r.Target
	if t[0] != '/' {
		if string(t) == "*" && string(r.Method) == "OPTIONS" {
			r.Path = t
			return nil
		}
		rest, ok := cutScheme(t)
		if !ok {
			return errTargetForm
		}
		end := bytes.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if !validHost(rest[:end]) || end == 0 {
			return errHost
		}
		// The target's authority wins over Host (RFC 9112 section 3.2.2).
		r.Host, t = rest[:end], rest[end:]
	}
	path := t
	if q := bytes.IndexByte(t, '?'); q >= 0 {
		path, r.Query, r.HasQuery = t[:q], t[q+1:], true
	}
	if len(path) == 0 {
		path = slash
	}
	if !exchange.NeedsCanonical(path) {
		r.Path = path
		return nil
	}
	canonical, encoded, problem := exchange.Canonical(r.path[:0], path)
	if problem != "" {
		return &exchange.ClientError{Status: 400, Code: exchange.CodeBadPath, Detail: problem}
	}
	r.path, r.Path, r.EncodedSlash = canonical, canonical, encoded
	return nil
}

var slash = []byte("/")

func cutScheme(t []byte) (rest []byte, ok bool) {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(t) > len(scheme) && exchange.EqualFold(t[:len(scheme)], scheme) {
			return t[len(scheme):], true
		}
	}
	return nil, false
}

// validHost reports whether b is a name or an address with an optional port (RFC 3986 section 3.2.2),
// without user information and without any character that some server splits at. Empty is valid: it
// says that the target has no authority.
func validHost(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 3 {
			return false
		}
		for _, c := range b[1:end] {
			if !isHexDigit(c) && c != ':' && c != '.' {
				return false
			}
		}
		return validPort(b[end+1:])
	}
	name, port := b, []byte(nil)
	if i := bytes.IndexByte(b, ':'); i >= 0 {
		name, port = b[:i], b[i:]
	}
	return len(name) > 0 && len(name) <= 255 && all(name, &hostOctet) && validPort(port)
}

// validPort takes nothing, or a colon and at most five digits.
func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) > 6 {
		return false
	}
	_, ok := parseDigits(b[1:])
	return ok || len(b) == 1
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
