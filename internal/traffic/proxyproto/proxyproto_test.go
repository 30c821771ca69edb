package proxyproto_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/toska-mesh/toska-mesh/internal/traffic/proxyproto"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

func binary(t testing.TB, rest string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return signature + string(b)
}

func TestHeadersAreReadAndNothingBehindThem(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, tc := range []struct {
		name, raw string
		want      proxyproto.Header
	}{
		{"TCP4", "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", proxyproto.Header{Version: 1, Source: at("192.0.2.1:56324"), Destination: at("10.0.0.1:443")}},
		{"the shortest TCP4", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", proxyproto.Header{Version: 1, Source: at("1.1.1.1:1"), Destination: at("2.2.2.2:2")}},
		{"TCP6", "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", proxyproto.Header{Version: 1, Source: at("[2001:db8::1]:1"), Destination: at("[::1]:65535")}},
		{"the longest TCP6", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n",
			proxyproto.Header{Version: 1, Source: at("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"), Destination: at("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")}},
		{"an IPv4 address in IPv6", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", proxyproto.Header{Version: 1, Source: at("192.0.2.1:1"), Destination: at("[::1]:2")}},
		{"UNKNOWN", "PROXY UNKNOWN\r\n", proxyproto.Header{Version: 1}},
		{"UNKNOWN with more", "PROXY UNKNOWN ffff:f...f:ffff whatever\r\n", proxyproto.Header{Version: 1}},
		{"binary TCP over IPv4", binary(t, "21 11 000c c0000201 0a000001 dc04 01bb"), proxyproto.Header{Version: 2, Source: at("192.0.2.1:56324"), Destination: at("10.0.0.1:443")}},
		{"binary TCP over IPv6", binary(t, "21 21 0024 20010db8000000000000000000000001 00000000000000000000000000000001 0001 0002"),
			proxyproto.Header{Version: 2, Source: at("[2001:db8::1]:1"), Destination: at("[::1]:2")}},
		{"binary with extensions", binary(t, "21 11 0013 c0000201 0a000001 dc04 01bb 02 0004 61626364"), proxyproto.Header{Version: 2, Source: at("192.0.2.1:56324"), Destination: at("10.0.0.1:443")}},
		{"binary with extensions that make no sense", binary(t, "21 11 000e c0000201 0a000001 dc04 01bb 02 ff"), proxyproto.Header{Version: 2, Source: at("192.0.2.1:56324"), Destination: at("10.0.0.1:443")}},
		{"LOCAL", binary(t, "20 00 0000"), proxyproto.Header{Version: 2}},
		{"LOCAL with addresses that do not count", binary(t, "20 11 000c c0000201 0a000001 dc04 01bb"), proxyproto.Header{Version: 2}},
		{"addresses of no family", binary(t, "21 00 0000"), proxyproto.Header{Version: 2}},
		{"addresses of a Unix socket", binary(t, "21 31 0002 6161"), proxyproto.Header{Version: 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, chop := range []func(io.Reader) io.Reader{iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
				r := strings.NewReader(tc.raw + "GET /")
				got, err := proxyproto.Read(chop(r))
				rest, _ := io.ReadAll(r)
				if err != nil || string(rest) != "GET /" {
					t.Errorf("got %v; %q is left", err, rest)
				}
				if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
					t.Errorf("header (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestWhatIsNoHeaderIsRefused(t *testing.T) {
	for _, tc := range []struct{ name, raw string }{
		{"a request", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"a handshake of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh"},
		{"small letters", "proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n"},
		{"two spaces", "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n"},
		{"a tab", "PROXY\tTCP4 192.0.2.1 10.0.0.1 1 2\r\n"},
		{"a bare line feed", "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n"},
		{"a carriage return inside", "PROXY TCP4 192.0.2.1\r10.0.0.1 1 2\r\n"},
		{"a zero byte", "PROXY UNKNOWN \x00\r\n"},
		{"another protocol", "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n"},
		{"IPv6 in TCP4", "PROXY TCP4 ::1 10.0.0.1 1 2\r\n"},
		{"IPv4 in TCP6", "PROXY TCP6 192.0.2.1 ::1 1 2\r\n"},
		{"a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"},
		{"a host name", "PROXY TCP4 localhost 10.0.0.1 1 2\r\n"},
		{"leading zeros in an address", "PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n"},
		{"leading zeros in a port", "PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n"},
		{"a port with a sign", "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n"},
		{"a port that is too great", "PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n"},
		{"a word too few", "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n"},
		{"a word too many", "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n"},
		{"a line without end", "PROXY UNKNOWN " + strings.Repeat("a", 200)},
		{"a line of 108 bytes", "PROXY UNKNOWN " + strings.Repeat("a", 92) + "\r\n"},
		{"binary of version 1", binary(t, "11 11 000c c0000201 0a000001 dc04 01bb")},
		{"binary with another command", binary(t, "22 11 000c c0000201 0a000001 dc04 01bb")},
		{"binary with another family", binary(t, "21 41 000c c0000201 0a000001 dc04 01bb")},
		{"binary addresses that are cut short", binary(t, "21 11 000b c0000201 0a000001 dc04 01")},
		{"binary with more than is read", binary(t, "21 11 1001") + strings.Repeat("a", 5000)},
	} {
		t.Run("I-10 "+tc.name, func(t *testing.T) {
			if h, err := proxyproto.Read(strings.NewReader(tc.raw)); !errors.Is(err, proxyproto.ErrMalformed) {
				t.Errorf("got %+v, %v", h, err)
			}
		})
	}
}

func TestAHeaderThatEndsEarlyIsNone(t *testing.T) {
	for _, raw := range []string{"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n", binary(t, "21 11 000c c0000201 0a000001 dc04 01bb")} {
		for n := range len(raw) {
			_, err := proxyproto.Read(strings.NewReader(raw[:n]))
			if n == 0 && !errors.Is(err, io.EOF) || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %v", raw[:n], err)
			}
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, version := range []int{1, 2} {
		for _, tc := range []struct{ from, to, readFrom, readTo netip.AddrPort }{
			{at("192.0.2.1:1"), at("10.0.0.1:2"), at("192.0.2.1:1"), at("10.0.0.1:2")},
			{at("[2001:db8::1]:1"), at("[::1]:2"), at("[2001:db8::1]:1"), at("[::1]:2")},
			{at("[::ffff:192.0.2.1]:1"), at("10.0.0.1:2"), at("192.0.2.1:1"), at("10.0.0.1:2")},
			{at("192.0.2.1:1"), at("[::1]:2"), at("192.0.2.1:1"), at("[::1]:2")},
			{netip.AddrPort{}, at("[::1]:2"), netip.AddrPort{}, netip.AddrPort{}},
		} {
			raw := proxyproto.Append([]byte("x"), proxyproto.Header{Version: version, Source: tc.from, Destination: tc.to})
			got, err := proxyproto.Read(bytes.NewReader(raw[1:]))
			if err != nil || got != (proxyproto.Header{Version: version, Source: tc.readFrom, Destination: tc.readTo}) {
				t.Errorf("%v to %v: %q is read as %+v, %v", tc.from, tc.to, raw, got, err)
			}
		}
	}
}

// FuzzRead looks for a header that is read as something else than what it says when it is written anew, and
// for one of which too much or too little is read.
func FuzzRead(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"))
	f.Add([]byte("PROXY UNKNOWN x\r\n"))
	f.Add([]byte(binary(f, "21 11 0013 c0000201 0a000001 dc04 01bb 02 0004 61626364")))
	f.Add([]byte(binary(f, "20 00 0000")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		h, err := proxyproto.Read(r)
		read := raw[:len(raw)-r.Len()]
		if err != nil {
			return
		}
		if h.Version == 1 && !bytes.HasSuffix(read, []byte("\r\n")) {
			t.Errorf("version 1: %q was read", read)
		}
		if h.Version == 2 && len(read) != 16+int(read[14])<<8+int(read[15]) {
			t.Errorf("version 2: %d bytes were read", len(read))
		}
		again, err := proxyproto.Read(bytes.NewReader(proxyproto.Append(nil, h)))
		if err != nil || again != h {
			t.Errorf("%q: %+v, written and read again %+v, %v", read, h, again, err)
		}
	})
}
