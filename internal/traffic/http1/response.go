package http1

import (
	"errors"
	"fmt"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// ErrMalformed is an endpoint's answer that cannot be read in exactly one way.
var ErrMalformed = errors.New("malformed answer")

// response is a parsed head of an endpoint's answer.
type response struct {
	exchange.Head
	framing
	minor int
}

func (r *response) reset() {
	*r = response{Head: exchange.Head{Fields: r.Fields[:0], Nominated: r.Nominated[:0]}}
}

// parse reads a head from the front of buf and returns how long it is. errIncomplete asks for more;
// every other error wraps ErrMalformed. r must be reset.
func (r *response) parse(buf []byte, lim *Limits) (int, error) {
	line, next, err := nextLine(buf, 0)
	if err != nil {
		if errors.Is(err, errIncomplete) && len(buf) <= lim.FieldBytes {
			return 0, err
		}
		return 0, malformed(err)
	}
	if err := r.parseLine(line); err != nil {
		return 0, malformed(err)
	}
	r.Fields, next, err = parseFields(buf, next, lim, r.Fields)
	if errors.Is(err, errIncomplete) {
		return 0, err
	}
	if err == nil && next > lim.HeadBytes {
		err = errHeadTooLong
	}
	for i := 0; err == nil && i < len(r.Fields); i++ {
		r.Nominated, err = r.note(&r.Fields[i], r.Nominated)
	}
	if err == nil {
		err = r.check(r.minor)
	}
	if err != nil {
		return 0, malformed(err)
	}
	if !r.hasLength && !r.coding {
		r.length = exchange.Unknown // it ends with the connection
	}
	r.Length = r.length
	if r.minor == 0 && !r.keep {
		r.close = true
	}
	return next, nil
}

func malformed(err error) error { return fmt.Errorf("%w: %s", ErrMalformed, err.Error()) }

var (
	errStatusLine = errors.New("the status line is not HTTP/1.1 SP status SP reason")
)

// parseLine reads HTTP/1.x SP status [SP reason] (RFC 9112 section 4).
func (r *response) parseLine(line []byte) error {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return errStatusLine
	}
	switch line[7] {
	case '0':
	case '1':
		r.minor = 1
	default:
		return errStatusLine
	}
	n, ok := parseDigits(line[9:12])
	if !ok || n < 100 || n > 599 {
		return errStatusLine
	}
	r.Status = int(n)
	if len(line) > 12 {
		if line[12] != ' ' || !all(line[13:], &fieldOctet) {
			return errStatusLine
		}
		r.Reason = line[13:]
	}
	return nil
}

// bodiless says whether an answer to the method has a body at all (RFC 9112 section 6.3).
func (r *response) bodiless(method []byte) bool {
	return string(method) == "HEAD" || r.Status == 204 || r.Status == 304 || r.Status < 200
}
