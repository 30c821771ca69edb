package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
)

// heads are requests that this parser and net/http's are asked about. Where the two differ on purpose,
// why says so: then ours refuses what net/http takes, or takes what net/http has no room for.
var heads = []struct {
	raw string
	ok  bool
	why string
}{
	{raw: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", ok: true},
	{raw: "POST /a?b=c HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\n\r\nabc", ok: true},
	{raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok: true},
	{raw: "GET / HTTP/1.0\r\n\r\n", ok: true},
	{raw: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ok: true},
	{raw: "GET http://a.b/c?d HTTP/1.1\r\nHost: x\r\n\r\n", ok: true},
	{raw: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", ok: true},
	{raw: "GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, x\r\nX:\t y \r\n\r\n", ok: true},
	{raw: "GET /%7e/a//b HTTP/1.1\r\nHost: h\r\n\r\n", ok: true},
	{raw: "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", ok: true},
	{raw: "GET / HTTP/1.1\r\nHost:\r\n\r\n", ok: true},
	{raw: "GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n", ok: true},
	{raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n", ok: true, why: "net/http refuses the announcement; ours drops the trailer when it comes"},
	{raw: "GET / HTTP/1.1\r\nHost: h\r\nPragma: no-cache\r\n\r\n", ok: true, why: "net/http adds a Cache-Control field of its own"},
	{raw: "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", ok: true, why: "net/http's server has skipped an empty line before it parses"},

	{raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", why: "net/http drops the length; ours refuses two framings"},
	{raw: "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", why: "net/http ignores the coding, and the body is lost"},
	{raw: "GET / HTTP/1.1\nHost: h\n\n", why: "net/http takes bare line feeds"},
	{raw: "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", why: "net/http unfolds"},
	{raw: "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", why: "net/http takes what is no host"},
	{raw: "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", why: "net/http takes what is no host"},
	{raw: "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n", why: "net/http decodes control characters"},
	{raw: "GET /../a HTTP/1.1\r\nHost: h\r\n\r\n", why: "net/http leaves paths to its mux"},
	{raw: "GET /a\\b HTTP/1.1\r\nHost: h\r\n\r\n", why: "net/http leaves paths to its mux"},
	{raw: "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", why: "net/http takes a fragment for a part of the path"},
	{raw: "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", why: "not served"},
	{raw: "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", why: "not served"},
	{raw: "GET / HTTP/1.2\r\nHost: h\r\n\r\n", why: "another version"},
	{raw: "GET ftp://a/b HTTP/1.1\r\nHost: h\r\n\r\n", why: "another scheme"},
	{raw: "GET / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", why: "net/http's server refuses it behind the parser"},

	{raw: "GET / HTTP/1.1\r\n\r\n", why: "net/http's server looks for Host behind the parser"},
	{raw: "GET / HTTP/1.1\r\nHost : h\r\n\r\n", why: "net/http's server looks at names behind the parser"},
	{raw: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
	{raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc"},
	{raw: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"},
	{raw: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
	{raw: "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
}

func TestHeadsThatBothParsersKnow(t *testing.T) {
	for _, tc := range heads {
		_, _, _, _, err := http1.ParseRequest([]byte(tc.raw), http1.DefaultLimits())
		if (err == nil) != tc.ok {
			t.Errorf("%q: %v, want it taken: %v", tc.raw, err, tc.ok)
		}
		_, theirs := http.ReadRequest(bufio.NewReader(strings.NewReader(tc.raw)))
		if tc.why == "" && (theirs == nil) != tc.ok {
			t.Errorf("%q: net/http says %v, and nothing says why", tc.raw, theirs)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, tc := range heads {
		f.Add([]byte(tc.raw))
	}
	lim := http1.DefaultLimits()
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, n, chunked, _, err := http1.ParseRequest(raw, lim)
		if err != nil {
			checkRequestFault(t, raw, err, lim)
			return
		}
		checkRequest(t, r)
		for cut := range n { // a part of a head is never a head, and never refused
			if _, _, _, _, err := http1.ParseRequest(raw[:cut], lim); !errors.Is(err, http1.ErrIncomplete) {
				t.Fatalf("%q is a head, and its front %q gives %v", raw[:n], raw[:cut], err)
			}
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\r\n")))))
		if err != nil && announcesFraming(r.Fields) {
			return // see the table
		}
		if err != nil {
			t.Fatalf("taken here, and refused by net/http: %q: %v", raw, err)
		}
		compareRequests(t, raw, r, chunked, theirs)
		compareFields(t, raw, r.Fields, theirs.Header)
		compareBodies(t, raw, raw[n:], r, chunked, theirs, lim)
	})
}

// checkRequestFault wants a fault that can be answered, and that more bytes cannot mend.
func checkRequestFault(t *testing.T, raw []byte, err error, lim http1.Limits) {
	t.Helper()
	if errors.Is(err, http1.ErrIncomplete) {
		return
	}
	var fault *exchange.ClientError
	if !errors.As(err, &fault) || fault.Status < 400 || fault.Status > 505 || fault.Code == "" || fault.Detail == "" {
		t.Fatalf("%q is refused with %#v", raw, err)
	}
	if _, _, _, _, err := http1.ParseRequest(append(slices.Clone(raw), "\r\n\r\n"...), lim); err == nil {
		t.Fatalf("%q is refused, and taken with more behind it", raw)
	}
}

// checkRequest wants what the rest of the data plane relies on.
func checkRequest(t *testing.T, r *exchange.Request) {
	t.Helper()
	if len(r.Method) == 0 || len(r.Target) == 0 || len(r.Path) == 0 || r.Path[0] != '/' && string(r.Path) != "*" {
		t.Fatalf("method %q, target %q, path %q", r.Method, r.Target, r.Path)
	}
	for _, b := range [][]byte{r.Method, r.Path, r.Query, r.Host} {
		if bytes.ContainsAny(b, "\r\n\x00 ") {
			t.Fatalf("%q would break a head", b)
		}
	}
	for _, f := range r.Fields {
		if len(f.Name) == 0 || bytes.ContainsAny(f.Name, "\r\n\x00 \t:") || bytes.ContainsAny(f.Value, "\r\n\x00") {
			t.Fatalf("field %q: %q would break a head", f.Name, f.Value)
		}
	}
}

func compareRequests(t *testing.T, raw []byte, r *exchange.Request, chunked bool, theirs *http.Request) {
	t.Helper()
	if theirs.Method != string(r.Method) || theirs.RequestURI != string(r.Target) || theirs.ProtoMinor != r.Minor {
		t.Fatalf("%q: net/http reads %s %s HTTP/1.%d", raw, theirs.Method, theirs.RequestURI, theirs.ProtoMinor)
	}
	if theirs.Host != string(r.Host) {
		t.Fatalf("%q: net/http reads the host %q, this %q", raw, theirs.Host, r.Host)
	}
	length := theirs.ContentLength
	if chunked != slices.Contains(theirs.TransferEncoding, "chunked") || length != r.Length {
		t.Fatalf("%q: net/http reads the length %d %v, this %d, %v", raw, length, theirs.TransferEncoding, r.Length, chunked)
	}
	// net/http's path is decoded: decoding ours must give what a cleaned one of theirs is.
	if u, err := url.ParseRequestURI(string(r.Path)); string(r.Path) != "*" && (err != nil || u.RawQuery != "") {
		t.Fatalf("%q: the canonical path %q is %v, %v", raw, r.Path, u, err)
	}
	if theirs.URL.RawQuery != string(r.Query) {
		t.Fatalf("%q: net/http reads the query %q, this %q", raw, theirs.URL.RawQuery, r.Query)
	}
}

// announcesFraming reports whether Trailer names what no trailer may be.
func announcesFraming(fields exchange.Fields) bool {
	for _, f := range fields {
		if f.Kind != exchange.Trailer {
			continue
		}
		for name := range strings.SplitSeq(string(f.Value), ",") {
			switch http.CanonicalHeaderKey(strings.TrimSpace(name)) {
			case "Transfer-Encoding", "Trailer", "Content-Length":
				return true
			}
		}
	}
	return false
}

// compareFields wants the same values of the same names in the same order, but for some. net/http has places of their own
// for what frames and for Host, and folds a length that is given twice.
func compareFields(t *testing.T, raw []byte, ours exchange.Fields, theirs http.Header, but ...string) {
	t.Helper()
	got, want := http.Header{}, theirs.Clone()
	for _, f := range ours {
		got.Add(string(f.Name), string(f.Value))
	}
	if got.Get("Pragma") == "no-cache" && len(got.Values("Cache-Control")) == 0 {
		want.Del("Cache-Control")
	}
	for _, name := range append(but, "Host", "Transfer-Encoding", "Trailer", "Content-Length") {
		got.Del(name)
		want.Del(name)
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("%q: net/http reads the fields %q, this %q", raw, want, got)
	}
}

// compareBodies wants the same body where both read one, and nothing taken that net/http refuses.
func compareBodies(t *testing.T, raw, rest []byte, r *exchange.Request, chunked bool, theirs *http.Request, lim http1.Limits) {
	t.Helper()
	their, theirErr := io.ReadAll(theirs.Body)
	if !chunked {
		ours := rest[:min(int64(len(rest)), r.Length)]
		if !bytes.Equal(ours, their) || (theirErr == nil) != (int64(len(ours)) == r.Length) {
			t.Fatalf("%q: net/http reads the body %q, %v, this %q", raw, their, theirErr, ours)
		}
		return
	}
	ours, _, _, err := readChunks(rest, lim)
	if err == nil && (theirErr != nil || !bytes.Equal(ours, their)) {
		t.Fatalf("%q: net/http reads the body %q, %v, this %q", raw, their, theirErr, ours)
	}
}

// readChunks reads a body that lies in memory.
func readChunks(p []byte, lim http1.Limits) (data []byte, trailers exchange.Fields, rest []byte, err error) {
	c := &memory{r: bytes.NewReader(p)}
	data, trailers, rest, err = http1.ReadChunks(c, lim)
	left, _ := io.ReadAll(c.r)
	return data, trailers, append(slices.Clone(rest), left...), err
}

// memory is a connection that was sent p and then closed.
type memory struct {
	net.Conn
	r *bytes.Reader
}

func (m *memory) Read(p []byte) (int, error)      { return m.r.Read(p) }
func (m *memory) SetReadDeadline(time.Time) error { return nil }

func FuzzChunks(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\nrest", "3;x=y\r\nabc\r\n0;z\r\nT: 1\r\n\r\n", "3\nabc\r\n0\r\n\r\n",
		" 3\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc\r\n\r\n0\r\n\r\n", "00000000000000003\r\nabc\r\n0\r\n\r\n",
		"ffffffffffffffff\r\n", "3\r\nabc\r\n0\r\nContent-Length: 3\r\nX: y\r\n\r\n", "3\r\nabc\r\n0\r\n X: y\r\n\r\n", "",
	} {
		f.Add([]byte(s))
	}
	lim := http1.DefaultLimits()
	f.Fuzz(func(t *testing.T, p []byte) {
		data, trailers, rest, err := readChunks(p, lim)
		if err != nil {
			var fault *exchange.ClientError
			if !errors.As(err, &fault) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%q: %v", p, err)
			}
			return
		}
		for _, tr := range trailers {
			if tr.Kind != exchange.Plain || bytes.ContainsAny(tr.Value, "\r\n\x00") {
				t.Fatalf("%q: the trailer %q: %q was kept", p, tr.Name, tr.Value)
			}
		}
		// net/http reads the same body, and leaves the same behind.
		br := bufio.NewReader(bytes.NewReader(slices.Concat([]byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"), p)))
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		their, err := io.ReadAll(req.Body)
		if err != nil || !bytes.Equal(their, data) {
			t.Fatalf("%q: net/http reads %q, %v, this %q", p, their, err, data)
		}
		compareTrailers(t, p, trailers, req.Trailer)
		if left, _ := io.ReadAll(br); !bytes.Equal(left, rest) {
			t.Fatalf("%q: net/http leaves %q behind, this %q", p, left, rest)
		}
	})
}

// compareTrailers wants those that are kept to be all that net/http reads but for the ones that are ours to
// drop.
func compareTrailers(t *testing.T, raw []byte, ours exchange.Fields, theirs http.Header) {
	t.Helper()
	got, want := http.Header{}, http.Header{}
	for _, f := range ours {
		got.Add(string(f.Name), string(f.Value))
	}
	for name, values := range theirs {
		if exchange.KindOf([]byte(name)) == exchange.Plain {
			want[name] = values
		}
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("%q: net/http reads the trailers %q, this %q", raw, want, got)
	}
}

func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\nX: y\n\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", "SSH-2.0-x\r\n",
	} {
		f.Add([]byte(s))
	}
	lim := http1.DefaultLimits()
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, n, chunked, _, err := http1.ParseResponse(raw, lim)
		if err != nil {
			if !errors.Is(err, http1.ErrIncomplete) && !errors.Is(err, http1.ErrMalformed) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		for cut := range n {
			if _, _, _, _, err := http1.ParseResponse(raw[:cut], lim); !errors.Is(err, http1.ErrIncomplete) {
				t.Fatalf("%q is a head, and its front %q gives %v", raw[:n], raw[:cut], err)
			}
		}
		if h.Status < 100 || h.Status > 599 || bytes.ContainsAny(h.Reason, "\r\n\x00") {
			t.Fatalf("%q: status %d, reason %q", raw, h.Status, h.Reason)
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: "GET"})
		if err != nil && announcesFraming(h.Fields) {
			return // see the table
		}
		if err != nil {
			t.Fatalf("taken here, and refused by net/http: %q: %v", raw, err)
		}
		if theirs.StatusCode != h.Status || theirs.ProtoMinor > 1 {
			t.Fatalf("%q: net/http reads %d", raw, theirs.StatusCode)
		}
		if bodiless := h.Status < 200 || h.Status == 204 || h.Status == 304; !bodiless {
			if chunked != slices.Contains(theirs.TransferEncoding, "chunked") || theirs.ContentLength != h.Length {
				t.Fatalf("%q: net/http reads the length %d %v, this %d, %v", raw, theirs.ContentLength, theirs.TransferEncoding, h.Length, chunked)
			}
		}
		compareFields(t, raw, h.Fields, theirs.Header, "Connection") // net/http drops "close"
	})
}
