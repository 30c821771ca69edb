package http1

import (
	"bytes"
	"errors"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// errIncomplete is a head of which more must be read.
var errIncomplete = errors.New("http1: incomplete head")

// The faults of a head. They are values, so that refusing costs no allocation.
var (
	errBareLF       = bad("a line ends without a carriage return")
	errFieldName    = bad("a field name is not a token directly before its colon")
	errFieldValue   = bad("a field value holds a control character")
	errFold         = bad("a field is folded over two lines")
	errFieldCount   = &exchange.ClientError{Status: 431, Code: exchange.CodeFieldsTooLarge, Detail: "the request has too many fields"}
	errFieldTooLong = &exchange.ClientError{Status: 431, Code: exchange.CodeFieldsTooLarge, Detail: "a field is too long"}
	errHeadTooLong  = &exchange.ClientError{Status: 431, Code: exchange.CodeFieldsTooLarge, Detail: "the head is too long"}
)

func bad(detail string) *exchange.ClientError {
	return &exchange.ClientError{Status: 400, Code: exchange.CodeBadRequest, Detail: detail}
}

// nextLine returns the line that begins at pos, without its CRLF, and where the next one begins.
func nextLine(buf []byte, pos int) (line []byte, next int, err error) {
	i := bytes.IndexByte(buf[pos:], '\n')
	if i < 0 {
		return nil, pos, errIncomplete
	}
	if i == 0 || buf[pos+i-1] != '\r' {
		return nil, pos, errBareLF
	}
	return buf[pos : pos+i-1], pos + i + 1, nil
}

// parseFields appends the field lines at pos to dst, up to and over the empty line that ends them
// (RFC 9112 section 5, without obs-fold).
func parseFields(buf []byte, pos int, lim *Limits, dst exchange.Fields) (exchange.Fields, int, error) {
	for {
		line, next, err := nextLine(buf, pos)
		if err != nil {
			if errors.Is(err, errIncomplete) && len(buf)-pos > lim.FieldBytes {
				err = errFieldTooLong
			}
			return dst, pos, err
		}
		pos = next
		if len(line) == 0 {
			return dst, pos, nil
		}
		if len(dst) == lim.Fields {
			return dst, pos, errFieldCount
		}
		if len(line) > lim.FieldBytes {
			return dst, pos, errFieldTooLong
		}
		f, err := parseField(line)
		if err != nil {
			return dst, pos, err
		}
		dst = append(dst, f)
	}
}

func parseField(line []byte) (exchange.Field, error) {
	if line[0] == ' ' || line[0] == '\t' {
		return exchange.Field{}, errFold
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !all(line[:colon], &tchar) {
		return exchange.Field{}, errFieldName
	}
	value := line[colon+1:]
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
		value = value[:len(value)-1]
	}
	if !all(value, &fieldOctet) {
		return exchange.Field{}, errFieldValue
	}
	name := line[:colon]
	return exchange.Field{Name: name, Value: value, Kind: exchange.KindOf(name)}, nil
}

// framing is what a head says of its body and its connection.
type framing struct {
	length    int64 // exchange.Unknown when chunked
	hasLength bool
	coding    bool // a Transfer-Encoding was there
	chunked   bool // and it was "chunked", alone
	close     bool
	keep      bool // keep-alive was said, which HTTP/1.0 must
	upgrade   bool
}

var (
	errLength      = framingFault("Content-Length is not one decimal number")
	errTwoLengths  = framingFault("two Content-Length fields differ")
	errBoth        = framingFault("both Content-Length and Transfer-Encoding are given")
	errCoding      = &exchange.ClientError{Status: 501, Code: exchange.CodeTransferCoding, Detail: "the transfer coding is not exactly one \"chunked\""}
	errOldCoding   = framingFault("HTTP/1.0 has no Transfer-Encoding")
	errCodingBytes = framingFault("Transfer-Encoding holds more than a token")
	errConnection  = bad("Connection is not a list of tokens")
)

func framingFault(detail string) *exchange.ClientError {
	return &exchange.ClientError{Status: 400, Code: exchange.CodeBadFraming, Detail: detail}
}

// note takes one field into account. Fields that do not concern framing are left alone.
func (fr *framing) note(f *exchange.Field, nominated [][]byte) ([][]byte, error) {
	switch f.Kind {
	case exchange.ContentLength:
		n, ok := parseDigits(f.Value)
		if !ok {
			return nominated, errLength
		}
		if fr.hasLength && fr.length != n {
			return nominated, errTwoLengths
		}
		fr.length, fr.hasLength = n, true
	case exchange.TransferEncoding:
		if fr.coding {
			return nominated, errCoding
		}
		fr.coding = true
		if fr.chunked = exchange.EqualFold(f.Value, "chunked"); fr.chunked {
			break
		}
		for _, c := range f.Value {
			if !tchar[c] && c != ',' && c != ' ' && c != ';' && c != '=' {
				return nominated, errCodingBytes
			}
		}
		return nominated, errCoding
	case exchange.Connection:
		return fr.noteConnection(f.Value, nominated)
	default:
	}
	return nominated, nil
}

func (fr *framing) noteConnection(value []byte, nominated [][]byte) ([][]byte, error) {
	for len(value) > 0 {
		var token []byte
		token, value = exchange.NextToken(value)
		switch {
		case len(token) == 0:
		case exchange.EqualFold(token, "close"):
			fr.close = true
		case exchange.EqualFold(token, "keep-alive"):
			fr.keep = true
		case exchange.EqualFold(token, "upgrade"):
			fr.upgrade = true
		case !all(token, &tchar):
			return nominated, errConnection
		default:
			nominated = append(nominated, token)
		}
	}
	return nominated, nil
}

// check settles what the fields said together.
func (fr *framing) check(minor int) error {
	switch {
	case fr.coding && minor == 0:
		return errOldCoding
	case fr.coding && fr.hasLength:
		return errBoth
	case fr.coding:
		fr.length = exchange.Unknown
	}
	return nil
}
