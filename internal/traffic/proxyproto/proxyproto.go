// Package proxyproto reads and writes the header of the PROXY protocol, versions 1 and 2: with it a
// proxy that forwards bytes tells on whose behalf it connects, before anything else is sent.
//
// Read takes exactly the header off the connection, so that whoever speaks next on it need not know.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Header is what a proxy says of a connection.
type Header struct {
	// Version is 1 or 2.
	Version int
	// Source is the client, and Destination what it connected to. They are invalid where the proxy speaks
	// for itself (LOCAL), or does not know (UNKNOWN, or addresses that are not of the Internet): then the
	// connection's own addresses hold.
	Source, Destination netip.AddrPort
}

// ErrMalformed is a beginning that is no header of the PROXY protocol.
var ErrMalformed = errors.New("no PROXY header")

const (
	// signature begins version 2; a version 1 line cannot be taken for it.
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	prefix    = "PROXY "
	// lineBytes is the longest line of version 1, with its end.
	lineBytes = 107
	// shortest is the shortest line of version 1: PROXY UNKNOWN and its end.
	shortest = 15
	// fixedBytes of version 2 come before the addresses, and maxRest bounds what follows, with the
	// extensions, which are skipped. Known senders stay far below.
	fixedBytes = 16
	maxRest    = 4 << 10
)

// Read reads a header and nothing behind it. Errors are those of r, io.ErrUnexpectedEOF among them, or
// wrap ErrMalformed. r should have a deadline.
func Read(r io.Reader) (Header, error) {
	var room [lineBytes]byte
	begin := room[:shortest]
	if _, err := io.ReadFull(r, begin); err != nil {
		return Header{}, err
	}
	switch {
	case bytes.HasPrefix(begin, []byte(signature)):
		return readBinary(r, room[:fixedBytes], shortest)
	case bytes.HasPrefix(begin, []byte(prefix)):
		return readLine(r, &room)
	}
	return Header{}, malformed("it begins with neither PROXY nor the signature of version 2")
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// readLine reads the rest of a line byte by byte: what stands behind it is not ours.
func readLine(r io.Reader, room *[lineBytes]byte) (Header, error) {
	n := shortest
	for room[n-1] != '\n' {
		if n == lineBytes {
			return Header{}, malformed("the line is longer than %d bytes", lineBytes)
		}
		if _, err := io.ReadFull(r, room[n:n+1]); err != nil {
			return Header{}, unexpected(err)
		}
		n++
	}
	line, ok := strings.CutSuffix(string(room[:n]), "\r\n")
	if !ok || strings.ContainsAny(line, "\r\n\x00") {
		return Header{}, malformed("the line does not end with CR LF")
	}
	return parseLine(line)
}

// parseLine reads PROXY TCP4|TCP6 source destination port port, separated by single spaces. What an
// UNKNOWN line says besides is not looked at.
func parseLine(line string) (Header, error) {
	word := strings.Split(line, " ")
	h := Header{Version: 1}
	if word[1] == "UNKNOWN" {
		return h, nil
	}
	if len(word) != 6 || word[1] != "TCP4" && word[1] != "TCP6" {
		return Header{}, malformed("the line has not the six words of TCP4 or TCP6")
	}
	four := word[1] == "TCP4"
	var err error
	if h.Source, err = parseAddr(word[2], word[4], four); err == nil {
		h.Destination, err = parseAddr(word[3], word[5], four)
	}
	if err != nil {
		return Header{}, err
	}
	return h, nil
}

func parseAddr(host, port string, four bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(host)
	if err != nil || a.Is4() != four || a.Zone() != "" {
		return netip.AddrPort{}, malformed("an address is not of the family that the line says")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port != strconv.FormatUint(n, 10) {
		return netip.AddrPort{}, malformed("a port is no number from 0 to 65535")
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// readBinary reads the rest of version 2, of which have bytes are in fixed.
func readBinary(r io.Reader, fixed []byte, have int) (Header, error) {
	if _, err := io.ReadFull(r, fixed[have:]); err != nil {
		return Header{}, unexpected(err)
	}
	command, family := fixed[12], fixed[13]
	n := int(binary.BigEndian.Uint16(fixed[14:]))
	switch {
	case command>>4 != 2:
		return Header{}, malformed("version %d is not 2", command>>4)
	case command&0xf > 1:
		return Header{}, malformed("command %d is neither LOCAL nor PROXY", command&0xf)
	case n > maxRest:
		return Header{}, malformed("%d bytes of addresses and extensions are more than %d", n, maxRest)
	}
	rest := make([]byte, n)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Header{}, unexpected(err)
	}
	h := Header{Version: 2}
	if command&0xf == 0 {
		return h, nil
	}
	size := 0
	switch family >> 4 {
	case 1:
		size = 4
	case 2:
		size = 16
	case 0, 3: // neither is an address of the Internet
		return h, nil
	default:
		return Header{}, malformed("there is no address family %d", family>>4)
	}
	if len(rest) < 2*size+4 {
		return Header{}, malformed("the addresses are cut short")
	}
	source, _ := netip.AddrFromSlice(rest[:size])
	destination, _ := netip.AddrFromSlice(rest[size : 2*size])
	ports := rest[2*size:]
	h.Source = netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(destination.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, nil
}

// unexpected makes an end inside of a header one that nobody expected.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Append appends the header for a connection on behalf of h.Source, in h.Version. Without two valid
// addresses of one family it says UNKNOWN, or LOCAL.
func Append(b []byte, h Header) []byte {
	source, destination := h.Source.Addr().Unmap(), h.Destination.Addr().Unmap()
	known := source.IsValid() && destination.IsValid()
	if known && source.Is4() != destination.Is4() {
		source, destination = netip.AddrFrom16(source.As16()), netip.AddrFrom16(destination.As16())
	}
	if h.Version == 1 {
		return appendLine(b, known, source, destination, h)
	}
	b = append(b, signature...)
	if !known {
		return append(b, 0x20, 0, 0, 0)
	}
	family, size := byte(0x11), 4
	if !source.Is4() {
		family, size = 0x21, 16
	}
	b = append(b, 0x21, family)
	b = binary.BigEndian.AppendUint16(b, uint16(2*size+4))
	b = append(b, source.AsSlice()...)
	b = append(b, destination.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, h.Source.Port())
	return binary.BigEndian.AppendUint16(b, h.Destination.Port())
}

func appendLine(b []byte, known bool, source, destination netip.Addr, h Header) []byte {
	if !known {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	family := "TCP4"
	if !source.Is4() {
		family = "TCP6"
	}
	return fmt.Appendf(b, "PROXY %s %s %s %d %d\r\n", family, source.WithZone(""), destination.WithZone(""), h.Source.Port(), h.Destination.Port())
}
