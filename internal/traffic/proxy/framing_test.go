package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// marker is the request that is pipelined behind each row: it must never be smuggled, and never be lost.
const marker = "GET /api/svc/marker HTTP/1.1\r\nHost: marker.test\r\n\r\n"

// rawCase is one row: bytes that a client sends, what it is answered, and what the upstream sees.
type rawCase struct {
	// name begins with the id of its case.
	name string
	raw  string
	// status is any of these; the first row of 200 is one that must be forwarded.
	status []int
	// saw are pieces that the upstream must have seen, and not are those that it must not.
	saw, not []string
	// body is what the upstream's first request holds, whatever its framing; empty for any.
	body string
	// long rows are not dribbled byte by byte.
	long bool
	// partial rows may reach the upstream in part: the fault is in the body.
	partial bool
	// closes allows that the connection ends after the answer, though it is 200.
	closes bool
}

func refused(name, raw string, status ...int) rawCase {
	return rawCase{name: name, raw: raw, status: status}
}

// runRaw runs rows on every way of reading, whole and byte by byte.
func runRaw(t *testing.T, cases []rawCase) {
	t.Helper()
	for _, mode := range []struct {
		name    string
		how     mode
		dribble bool
	}{{"raw", raw, false}, {"plain", plain, false}, {"loops", loops, false}, {"raw dribbled", raw, true}, {"plain dribbled", plain, true}, {"loops dribbled", loops, true}} {
		t.Run(mode.name, func(t *testing.T) {
			for _, tc := range cases {
				if mode.dribble && tc.long {
					continue
				}
				t.Run(tc.name, func(t *testing.T) {
					up := newRecorder(t, "")
					r := newRig(t, rigConfig{how: mode.how}, up.addr)
					got := r.exchangeRaw(tc.raw+marker, mode.dribble)
					tc.check(t, got, up.saw())
				})
			}
		})
	}
}

func (tc *rawCase) check(t *testing.T, got []gotAnswer, saw []string) {
	t.Helper()
	if len(got) == 0 || !slices.Contains(tc.status, got[0].status) {
		t.Fatalf("answers %v, want the first to be %v", got, tc.status)
	}
	all := strings.Join(saw, "\n--\n")
	for _, want := range tc.saw {
		if !strings.Contains(all, want) {
			t.Errorf("upstream saw no %q in %q", want, all)
		}
	}
	for _, not := range tc.not {
		if strings.Contains(strings.ToLower(all), strings.ToLower(not)) {
			t.Errorf("upstream saw %q in %q", not, all)
		}
	}
	if tc.body != "" {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(saw[0])))
		if err != nil {
			t.Fatalf("upstream saw %q: %v", saw[0], err)
		}
		if b, err := io.ReadAll(req.Body); string(b) != tc.body || err != nil {
			t.Errorf("upstream read the body %q, %v, want %q", b, err, tc.body)
		}
	}
	if got[0].status == 200 && tc.closes && len(got) == 1 && got[0].close {
		if len(saw) != 1 {
			t.Errorf("upstream saw %q, want the one request that was answered", saw)
		}
		return
	}
	if got[0].status == 200 {
		if len(got) != 2 || got[1].status != 200 {
			t.Errorf("answers %v, want two of 200: the request behind was lost", got)
		}
		if len(saw) != 2 || !strings.HasPrefix(saw[1], "GET /marker HTTP/1.1\r\n") || !strings.Contains(saw[1], "X-Forwarded-Host: marker.test\r\n") {
			t.Errorf("upstream saw %q, want the request and the one behind it, intact", saw)
		}
		return
	}
	if len(got) != 1 || !got[0].close {
		t.Errorf("answers %v, want one that closes the connection", got)
	}
	if !tc.partial && len(saw) != 0 {
		t.Errorf("upstream saw %q of a refused request", saw)
	}
	if strings.Contains(all, "marker") {
		t.Errorf("upstream saw the request behind a refused one: %q", saw)
	}
	if !strings.Contains(got[0].body, `"code":"TOSKA-`) {
		t.Errorf("refused with %q, want a problem with a code", got[0].body)
	}
}

type gotAnswer struct {
	status int
	close  bool
	body   string
}

func (g gotAnswer) String() string {
	return fmt.Sprintf("%d close=%v %.120q", g.status, g.close, g.body)
}

// exchangeRaw sends bytes, half-closes, and reads every answer up to the end of the connection.
func (r *rig) exchangeRaw(raw string, dribble bool) []gotAnswer {
	r.t.Helper()
	c := r.dial()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		step := len(raw)
		if dribble {
			step = 1
		}
		for rest := raw; len(rest) > 0; {
			n := min(step, len(rest))
			if _, err := io.WriteString(c, rest[:n]); err != nil {
				return // refused in the middle
			}
			rest = rest[n:]
		}
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	var out []gotAnswer
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && len(out) == 0 {
				r.t.Errorf("read answer: %v", err)
			}
			break
		}
		if resp.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			r.t.Errorf("read answer's body: %v", err)
		}
		_ = resp.Body.Close()
		out = append(out, gotAnswer{resp.StatusCode, resp.Close, string(body)})
	}
	_ = c.Close()
	<-sent
	return out
}

// post is a request with the given fields, each ending in CRLF, and a body.
func post(fields, body string) string {
	return "POST /api/svc/x HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body
}

func get(fields string) string { return "GET /api/svc/x HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" }

func chunkedPost(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }

func TestFramingOfRequests(t *testing.T) {
	smuggled := "0\r\n\r\nGET /api/svc/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	cases := []rawCase{
		refused("H1-1 Content-Length and Transfer-Encoding together are refused", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", smuggled), 400),
		refused("H1-1 Transfer-Encoding and Content-Length together are refused", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", smuggled), 400),
		refused("H1-1 Content-Length: 0 does not make it better", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", smuggled), 400),

		refused("H1-2 xchunked", post("Transfer-Encoding: xchunked\r\n", smuggled), 400, 501),
		refused("H1-2 a vertical tab before chunked", post("Transfer-Encoding: \x0bchunked\r\n", smuggled), 400, 501),
		refused("H1-2 chunked given twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", smuggled), 400, 501),
		refused("H1-2 chunked given twice, with spaces", post("Transfer-Encoding:  chunked\r\nTransfer-Encoding:  chunked\r\n", smuggled), 400, 501),
		refused("H1-2 a no-break space before chunked", post("Transfer-Encoding: \xa0chunked\r\n", smuggled), 400, 501),
		refused("H1-2 identity", post("Transfer-Encoding: identity\r\n", smuggled), 400, 501),
		refused("H1-2 gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", smuggled), 400, 501),
		refused("H1-2 chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", smuggled), 400, 501),
		refused("H1-2 quoted chunked", post("Transfer-Encoding: \"chunked\"\r\n", smuggled), 400, 501),
		refused("H1-2 an empty coding", post("Transfer-Encoding:\r\n", smuggled), 400, 501),
		refused("H1-3 ,chunked", post("Transfer-Encoding: ,chunked\r\n", smuggled), 501),
		refused("H1-3 chunked,", post("Transfer-Encoding: chunked,\r\n", smuggled), 501),

		refused("H1-4 two different lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), 400),
		refused("H1-4 two lengths spelled differently", post("Content-Length: 3\r\nContent-Length: 03, 3\r\n", "abc"), 400),
		{name: "H1-4 two equal lengths are one", raw: post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), status: []int{200}, saw: []string{"\r\nContent-Length: 3\r\n\r\nabc"}, not: []string{"Content-Length: 3\r\nContent-Length"}},

		refused("H1-5 1_0", post("Content-Length: 1_0\r\n", "0123456789"), 400),
		refused("H1-5 +1", post("Content-Length: +1\r\n", "0"), 400),
		refused("H1-5 -1", post("Content-Length: -1\r\n", "0"), 400),
		refused("H1-5 0x10", post("Content-Length: 0x10\r\n", "0123456789abcdef"), 400),
		refused("H1-5 empty", post("Content-Length:\r\n", ""), 400),
		refused("H1-5 a number beyond 63 bits", post("Content-Length: 18446744073709551617\r\n", "0"), 400),
		refused("H1-5 digits of another script", post("Content-Length: \u0661\r\n", "0"), 400),

		refused("H1-12 a space before the colon", get("X-A : b\r\n"), 400),
		refused("H1-12 a tab before the colon", get("X-A\t: b\r\n"), 400),
		refused("H1-12 a space before the colon of a framing field", post("Content-Length : 3\r\n", "abc"), 400),
		refused("H1-12 a leading space in the first field", "GET /api/svc/x HTTP/1.1\r\n Host: h\r\n\r\n", 400),
		refused("H1-12 a line without a colon", get("X-A\r\n"), 400),
		refused("H1-12 a name with 0x85", get("X-\x85: b\r\n"), 400),
		refused("H1-12 an empty name", get(": b\r\n"), 400),
		refused("H1-13 a field line that ends in LF alone", get("X-A: b\n"), 400),
		refused("H1-13 a request line that ends in LF alone", "GET /api/svc/x HTTP/1.1\nHost: h\r\n\r\n", 400),
		refused("H1-13 a head that ends in LF alone", "GET /api/svc/x HTTP/1.1\r\nHost: h\r\n\n", 400),
		refused("H1-13 a folded field", get("X-A: b\r\n c\r\n"), 400),
		refused("H1-13 a field folded with a tab", get("X-A: b\r\n\tc\r\n"), 400),
		refused("H1-14 NUL in a value", get("X-A: b\x00c\r\n"), 400),
		refused("H1-14 CR in a value", get("X-A: b\rc\r\n"), 400),
		refused("H1-14 DEL in a value", get("X-A: b\x7fc\r\n"), 400),

		{name: "H1-15 a GET with a length is forwarded with its body", raw: get("Content-Length: 3\r\n") + "abc", status: []int{200}, saw: []string{"Content-Length: 3\r\n\r\nabc"}},
		{name: "H1-15 a GET with chunks is forwarded with its body", raw: get("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n", status: []int{200}, saw: []string{"Transfer-Encoding: chunked\r\n\r\n"}, body: "abc"},

		refused("H1-17 another expectation", post("Expect: 200-ok\r\nContent-Length: 3\r\n", "abc"), 417),
		refused("H1-17 an expectation with more behind it", post("Expect: 100-continue, other\r\nContent-Length: 3\r\n", "abc"), 417),
		{name: "H1-17 a body that comes without waiting", raw: post("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc"), status: []int{200}, saw: []string{"\r\n\r\nabc"}, not: []string{"Expect"}, closes: true},

		refused("H1-20 Transfer-Encoding on HTTP/1.0", "POST /api/svc/x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+smuggled, 400),
		refused("H1-21 CONNECT with an authority", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 405, 501),
		refused("H1-21 CONNECT with a path", "CONNECT /api/svc/x HTTP/1.1\r\nHost: h\r\n\r\n", 405, 501),
		refused("H1-22 TRACE", "TRACE /api/svc/x HTTP/1.1\r\nHost: h\r\n\r\n", 405),

		{name: "H1-24 two thousand fields", raw: get(strings.Repeat("X-A: b\r\n", 2000)), status: []int{431}, long: true},
		{name: "H1-24 one field more than the limit", raw: get(strings.Repeat("X-A: b\r\n", 100)), status: []int{431}, long: true},
		{name: "H1-24 as many fields as the limit", raw: get(strings.Repeat("X-A: b\r\n", 99)), status: []int{200}, long: true},
		{name: "H1-24 a value of 64 KiB", raw: get("X-A: " + strings.Repeat("b", 64<<10) + "\r\n"), status: []int{431}, long: true},
		{name: "H1-24 a value that fits", raw: get("X-A: " + strings.Repeat("b", 15<<10) + "\r\n"), status: []int{200}, saw: []string{strings.Repeat("b", 15<<10) + "\r\n"}, long: true},
		{name: "H1-24 a head that is too long in all", raw: get(strings.Repeat("X-A: "+strings.Repeat("b", 15<<10)+"\r\n", 5)), status: []int{431}, long: true},
		{name: "H1-24 a head just below the limit, with a body", raw: post(strings.Repeat("X-A: "+strings.Repeat("b", 15<<10)+"\r\n", 4)+"Content-Length: 20000\r\n", strings.Repeat("c", 20000)), status: []int{200}, saw: []string{strings.Repeat("c", 20000)}, long: true},
		{name: "H1-24 a target that is too long", raw: "GET /api/svc/" + strings.Repeat("a", 17<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", status: []int{414}, long: true},
		{name: "H1-24 a target without an end", raw: "GET /api/svc/" + strings.Repeat("a", 100<<10), status: []int{414}, long: true},
		{name: "H1-24 a method without an end", raw: strings.Repeat("A", 100<<10), status: []int{414}, long: true},

		{name: "H1-25 no Accept-Encoding is added", raw: get(""), status: []int{200}, not: []string{"Accept-Encoding"}},

		refused("H1-27 HTTP/1.2", "GET /api/svc/x HTTP/1.2\r\nHost: h\r\n\r\n", 505),
		refused("H1-27 HTTP/1.10", "GET /api/svc/x HTTP/1.10\r\nHost: h\r\n\r\n", 505),
		refused("H1-27 HTTP/2.0", "GET /api/svc/x HTTP/2.0\r\nHost: h\r\n\r\n", 505),
		refused("H1-27 HTTP/01.1", "GET /api/svc/x HTTP/01.1\r\nHost: h\r\n\r\n", 505),
		refused("H1-27 HTTP/1.32", "GET /api/svc/x HTTP/1.32\r\nHost: h\r\n\r\n", 505),
		refused("H1-27 the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
		refused("H1-27 HTTP/0.9", "GET /api/svc/x\r\n\r\n", 400),
		refused("H1-27 http/1.1", "GET /api/svc/x http/1.1\r\nHost: h\r\n\r\n", 400),
		refused("H1-27 HTTP/1.1x", "GET /api/svc/x HTTP/1.1x\r\nHost: h\r\n\r\n", 400),
		refused("H1-27 a tab in the request line", "GET\t/api/svc/x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
		refused("H1-27 two spaces in the request line", "GET  /api/svc/x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
		refused("H1-27 a space behind the version", "GET /api/svc/x HTTP/1.1 \r\nHost: h\r\n\r\n", 400),

		refused("H1-28 1, 1", post("Content-Length: 1, 1\r\n", "a"), 400),
		refused("H1-28 1,2", post("Content-Length: 1,2\r\n", "ab"), 400),
	}
	runRaw(t, cases)
}

func TestChunkedBodiesOfRequests(t *testing.T) {
	bad := func(name, body string) rawCase {
		return rawCase{name: name, raw: chunkedPost(body), status: []int{400}, partial: true}
	}
	long := func(c rawCase) rawCase { c.long = true; return c }
	runRaw(t, []rawCase{
		{name: "H1-6 a sound body passes", raw: chunkedPost("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"), status: []int{200}, body: "abc0123456789"},
		bad("H1-6 0x1", "0x1\r\na\r\n0\r\n\r\n"),
		bad("H1-6 1_0", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
		bad("H1-6 a space before the size", " 1\r\na\r\n0\r\n\r\n"),
		bad("H1-6 a space behind the size", "1 \r\na\r\n0\r\n\r\n"),
		bad("H1-6 -1", "-1\r\na\r\n0\r\n\r\n"),
		bad("H1-6 17 digits", "00000000000000001\r\na\r\n0\r\n\r\n"),
		bad("H1-6 16 digits that overflow", "ffffffffffffffff\r\na\r\n0\r\n\r\n"),
		bad("H1-7 LF behind the size", "1\na\r\n0\r\n\r\n"),
		bad("H1-7 LF behind the data", "1\r\na\n0\r\n\r\n"),
		bad("H1-7 CR in an extension", "1;a\rb\r\na\r\n0\r\n\r\n"),
		bad("H1-7 LF in an extension", "1;a\nb\r\na\r\n0\r\n\r\n"),
		bad("H1-7 LF behind the last chunk", "1\r\na\r\n0\n\r\n"),
		bad("H1-7 LF behind a trailer", "1\r\na\r\n0\r\nX-A: b\n\r\n"),
		bad("H1-8 an empty size", "\r\na\r\n0\r\n\r\n"),
		bad("H1-8 an extension without a size", ";a=b\r\na\r\n0\r\n\r\n"),
		bad("H1-9 an extra CRLF before the last chunk", "1\r\na\r\n\r\n0\r\n\r\n"),
		bad("H1-9 data longer than its size", "1\r\nab\r\n0\r\n\r\n"),
		{name: "H1-10 trailers that would frame or route are dropped",
			raw:    post("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "1\r\na\r\n0\r\nContent-Length: 5\r\nHost: evil\r\nX-Sum: 1\r\nTransfer-Encoding: chunked\r\nX_Sum: evil\r\nX-Forwarded-For: evil\r\n\r\n"),
			status: []int{200}, saw: []string{"0\r\nX-Sum: 1\r\n\r\n", "Trailer: X-Sum\r\n"}, not: []string{"evil", "Content-Length: 5"}},
		bad("H1-10 a folded trailer", "1\r\na\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
		long(bad("H1-11 one huge extension", "1;"+strings.Repeat("a", 64<<10)+"\r\na\r\n0\r\n\r\n")),
		long(bad("H1-11 an extension at every chunk", strings.Repeat("1;aaaaaaaaaaaaaaa\r\na\r\n", 2000)+"0\r\n\r\n")),
		{name: "H1-11 a small extension is dropped", raw: chunkedPost("1;a=b\r\na\r\n0;c=d\r\n\r\n"), status: []int{200}, saw: []string{"1\r\na\r\n"}, not: []string{"a=b", "c=d"}},
		bad("H1-23 a size that is none", "3\r\nabc\r\nzz\r\n"),
	})
}

func TestABadChunkSaysNothingAboutTheEndpoint(t *testing.T) {
	for _, how := range modes {
		t.Run(fmt.Sprintf("H1-23 %v", how), func(t *testing.T) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how}, up.addr)
			_ = r.exchangeRaw(get(""), false)
			r.record()
			start := time.Now()
			got := r.exchangeRaw(chunkedPost("3\r\nabc\r\nzz\r\n"), false)
			if len(got) != 1 || got[0].status != 400 {
				t.Fatalf("answers %v, want one 400", got)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("refused after %v: it waited for an answer that could not come", d)
			}
			if rec := r.record(); rec.Code != exchange.CodeBadFraming || rec.Status != 400 {
				t.Errorf("recorded %q with %d, want the client's fault", rec.Code, rec.Status)
			}
			if got := r.exchangeRaw(get(""), false); len(got) != 1 || got[0].status != 200 {
				t.Fatalf("the request after: %v", got)
			}
			if n := up.connections(); n != 2 {
				t.Errorf("%d connections to the upstream, want 2: the one with half a body is of no use", n)
			}
		})
	}
}

func TestAClientThatClosesInItsBody(t *testing.T) {
	for _, tc := range []struct {
		name, head, part string
		reset            bool
	}{
		{"H1-16 a length, closed", "Content-Length: 100\r\n", "0123456789", false},
		{"H1-16 a length, reset", "Content-Length: 100\r\n", "0123456789", true},
		{"H1-16 chunks, closed in the data", "Transfer-Encoding: chunked\r\n", "20\r\n0123456789", false},
		{"H1-16 chunks, closed behind the data", "Transfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n", false},
		{"H1-16 chunks, reset", "Transfer-Encoding: chunked\r\n", "20\r\n0123456789", true},
	} {
		for _, how := range modes {
			t.Run(fmt.Sprintf("%s, %v", tc.name, how), func(t *testing.T) {
				got := make(chan struct{}, 8)
				answer := func(int, string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" }
				one, two := newRecorderFunc(t, answer), newRecorderFunc(t, answer)
				one.tellHeads(got)
				two.tellHeads(got)
				r := newRig(t, rigConfig{how: how}, one.addr, two.addr)
				c := r.dial()
				if _, err := io.WriteString(c, post(tc.head, tc.part)); err != nil {
					t.Fatal(err)
				}
				<-got // the upstream has the head
				if tc.reset {
					_ = c.(*net.TCPConn).SetLinger(0)
				}
				_ = c.Close()
				rec := r.record()
				if !rec.ClientGone || rec.Code == "" || strings.HasPrefix(rec.Code, "TOSKA-UP") || rec.Attempts != 1 {
					t.Errorf("recorded %+v, want a client that left after one attempt", rec)
				}
				one.waitClosed(t)
				two.waitClosed(t)
				if saw := append(one.saw(), two.saw()...); len(saw) != 1 || strings.HasSuffix(saw[0], "0\r\n\r\n") {
					t.Errorf("the upstreams saw %q, want one request that is cut", saw)
				}
			})
		}
	}
}

func TestExpectContinue(t *testing.T) {
	t.Run("H1-17 a client that waits is told to go on", func(t *testing.T) {
		for _, how := range modes {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how}, up.addr)
			c := r.dial()
			br := bufio.NewReader(c)
			for range 2 {
				_, _ = io.WriteString(c, post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""))
				if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 100 {
					t.Fatalf("got %v, %v, want 100", resp, err)
				}
				_, _ = io.WriteString(c, "abc")
				resp, err := http.ReadResponse(br, nil)
				if err != nil || resp.StatusCode != 200 || resp.Close {
					t.Fatalf("got %v, %v, want 200 on a connection that stays", resp, err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			if saw := up.saw(); len(saw) != 2 || !strings.HasSuffix(saw[0], "\r\n\r\nabc") {
				t.Errorf("upstream saw %q", saw)
			}
		}
	})
	t.Run("H1-17 an expectation that is never followed does not hang", func(t *testing.T) {
		for _, how := range modes {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how, policy: route.Policy{Idle: 50 * time.Millisecond}}, up.addr)
			c := r.dial()
			_, _ = io.WriteString(c, post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""))
			b, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 ") {
				t.Errorf("got %q, %v, want 100 and then 408", b, err)
			}
		}
	})
	t.Run("H1-17 an answer that comes before the body is whole, and ends the connection", func(t *testing.T) {
		for range 50 {
			up := newEarly(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nnot so")
			r := newRig(t, rigConfig{}, up)
			c := r.dial()
			_, _ = io.WriteString(c, post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""))
			br := bufio.NewReader(c)
			resp, err := http.ReadResponse(br, nil)
			if err == nil && resp.StatusCode == 100 {
				resp, err = http.ReadResponse(br, nil)
			}
			if err != nil || resp.StatusCode != 403 {
				t.Fatalf("got %v, %v, want 403", resp, err)
			}
			if b, err := io.ReadAll(resp.Body); string(b) != "not so" || err != nil {
				t.Fatalf("body %q, %v", b, err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			if rest, _ := io.ReadAll(br); len(rest) != 0 {
				t.Fatalf("after the answer came %q", rest)
			}
		}
	})
}

func TestAnswersThatAreMalformed(t *testing.T) {
	good := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean"
	for _, tc := range []struct {
		name, answer string
		status       int  // of the answer that the client sees
		cut          bool // the answer began before the fault was met: it must break
	}{
		{"H1-19 a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 502, false},
		{"H1-19 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 502, false},
		{"H1-19 a length that is a list", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", 502, false},
		{"H1-19 LF in a field", "HTTP/1.1 200 OK\r\nX-A: b\nX-B: c\r\nContent-Length: 3\r\n\r\nabc", 502, false},
		{"H1-19 CR in a field", "HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 3\r\n\r\nabc", 502, false},
		{"H1-19 a folded field", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc", 502, false},
		{"H1-19 a flood of interim answers", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000) + good, 502, false},
		{"H1-19 no status line", "hello\r\n\r\n", 502, false},
		{"H1-19 a status line of another version", "HTTP/2.0 200 OK\r\n\r\n", 502, false},
		{"H1-19 a status of two digits", "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n", 502, false},
		{"H1-19 a status out of range", "HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n", 502, false},
		{"H1-19 a switch of protocol that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502, false},
		{"H1-19 too many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 200) + "Content-Length: 0\r\n\r\n", 502, false},
		{"H1-19 a head without an end", "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("b", 200<<10), 502, false},
		{"H1-19 gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, false},
		{"H1-19 chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, false},
		{"H1-19 a body longer than its length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 200, false},
		{"H1-19 a body where there is none", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 204, false},
		{"H1-19 more behind the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 200, false},
		{"H1-19 a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", 200, true},
		{"H1-19 LF in a chunk's size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 200, true},
		{"H1-19 a body shorter than its length", "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc<close>", 200, true},
		{"H1-19 chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n<close>", 200, true},
	} {
		for _, how := range modes {
			t.Run(fmt.Sprintf("%s, %v", tc.name, how), func(t *testing.T) {
				up := newRecorderFunc(t, func(n int, _ string) string {
					if n == 1 {
						return tc.answer
					}
					return good
				})
				r := newRig(t, rigConfig{how: how}, up.addr)
				// POST: it is never sent twice, so the answer that is seen is the bad one's.
				status, body, err := r.once(post("Content-Length: 1\r\nConnection: close\r\n", "x"))
				// A fault that is met before anything was sent on breaks the connection without a head.
				if early := tc.cut && status == 0 && body == ""; !early && status != tc.status || (err != nil) != tc.cut || strings.Contains(body, "evil") {
					t.Errorf("got %d, %q, %v; want %d, cut %v", status, body, err, tc.status, tc.cut)
				}
				rec := r.record()
				if bad := tc.status == 502 || tc.cut; bad != strings.HasPrefix(rec.Code, "TOSKA-UP-") {
					t.Errorf("recorded code %q, reason %q", rec.Code, rec.Reason)
				}
				if rec.Code == "TOSKA-UP-MALFORMED" && rec.Reason == "the endpoint's answer is malformed" {
					t.Errorf("the log does not tell what was malformed: %q", rec.Reason)
				}
				if status, body, err := r.once(get("Connection: close\r\n")); status != 200 || body != "clean" || err != nil {
					t.Errorf("the next client got %d, %q, %v", status, body, err)
				}
				if n := up.connections(); n != 2 {
					t.Errorf("%d connections, want 2: the bad one is dropped", n)
				}
			})
		}
	}
}

// once sends one request on a connection of its own and reads its answer; err tells that it was cut.
func (r *rig) once(raw string) (status int, body string, err error) {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		r.t.Fatal(err)
	}
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return 0, "", err
		}
		if resp.StatusCode < 200 {
			continue
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode, string(b), err
	}
}

func TestContentPassesUntouched(t *testing.T) {
	t.Run("H1-25 an encoded answer", func(t *testing.T) {
		packed := "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03not really gzip"
		up := newRecorder(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\nx-Odd-CASE: Kept\r\nX_Under: kept\r\n\r\n%s", len(packed), packed))
		r := newRig(t, rigConfig{}, up.addr)
		got := r.send(get("Connection: close\r\n"))
		for _, want := range []string{"Content-Encoding: gzip\r\n", "x-Odd-CASE: Kept\r\n", "X_Under: kept\r\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("H1-25: answer has no %q: %q", want, got)
			}
		}
		if !strings.HasSuffix(got, "\r\n\r\n"+packed) {
			t.Errorf("H1-25: body was changed: %q", got)
		}
	})
}
