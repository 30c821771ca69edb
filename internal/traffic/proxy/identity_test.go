package proxy_test

import (
	"regexp"
	"strings"
	"testing"
)

func TestWhatAClientSaysInOurWordsNeverPasses(t *testing.T) {
	rows := []struct {
		name   string
		fields string
		not    []string // of what the endpoint saw
		want   []string
	}{
		{"I-1 X-Forwarded-* of a stranger are replaced",
			"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: evil\r\nX-Forwarded-Prefix: /evil\r\nForwarded: for=6.6.6.6\r\n",
			[]string{"6.6.6.6", "evil", "Forwarded: for"}, []string{"X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Host: h\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Prefix: /api/svc\r\n"}},
		{"I-2 other spellings and doubles of them go too",
			"x-FORWARDED-for: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX_Forwarded_For: 8.8.8.8\r\nX.Forwarded.For: 9.9.9.9\r\n",
			[]string{"6.6.6.6", "7.7.7.7", "8.8.8.8", "9.9.9.9"}, []string{"X-Forwarded-For: 127.0.0.1\r\n"}},
		{"I-3 Connection cannot name away what the gateway sets",
			"Connection: X-Forwarded-For, X-Request-Id, X-Mine\r\nX-Mine: 1\r\n",
			[]string{"X-Mine"}, []string{"X-Forwarded-For: 127.0.0.1\r\n", "X-Request-Id: "}},
		{"I-5 aliases of managed fields and names with an underscore are removed",
			"X_Forwarded_For: evil\r\nX.Forwarded.For: evil\r\nX-Real-IP: evil\r\nX-Forwarded-Port: evil\r\nX-Forwarded-Server: evil\r\nX-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\nX_Real_Ip: evil\r\nX_Custom: evil\r\nContent_Length: evil\r\nTransfer_Encoding: evil\r\nX.Original.URL: evil\r\n",
			[]string{"evil"}, nil},
		{"I-6 Proxy is removed", "Proxy: http://evil.test\r\n", []string{"evil"}, nil},
		{"I-7 the scheme is the listener's", "X-Forwarded-Proto: https\r\nX-Forwarded-Scheme: https\r\nX-Forwarded-Ssl: on\r\n",
			[]string{"https", "Ssl"}, []string{"X-Forwarded-Proto: http\r\n"}},
		{"hop-by-hop fields stay on their hop",
			"Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: secret\r\nTE: gzip\r\nHTTP2-Settings: AAA\r\nUpgrade: foo\r\n",
			[]string{"Keep-Alive", "Proxy-", "secret", "TE:", "HTTP2", "Upgrade"}, nil},
		{"W-12 an upgrade to h2c is not passed", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n",
			[]string{"Upgrade", "h2c", "HTTP2"}, nil},
		{"W-12 an upgrade of a POST is not passed", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", []string{"Upgrade", "websocket"}, nil},
		{"fields that are nobody's pass", "Authorization: Bearer x\r\nCookie: a=b\r\nX-Custom: 1\r\nAccept-Encoding: br\r\n",
			nil, []string{"Authorization: Bearer x\r\n", "Cookie: a=b\r\n", "X-Custom: 1\r\n", "Accept-Encoding: br\r\n"}},
	}
	for _, row := range rows {
		bothNamed(t, row.name, func(t *testing.T, how mode) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how}, up.addr)
			body := ""
			if strings.Contains(row.fields, "Content-Length: 1") {
				body = "x"
			}
			if got := r.send(get(row.fields) + body + marker); statusOf(got) != 200 {
				t.Fatalf("answer %q", got)
			}
			if saw := up.saw(); len(saw) != 2 || !strings.HasPrefix(saw[1], "GET /marker HTTP/1.1\r\n") {
				t.Fatalf("the endpoint saw %q, want the request and the one behind it, intact", saw)
			}
			saw := up.saw()[0]
			for _, not := range row.not {
				if strings.Contains(saw, not) {
					t.Errorf("the endpoint saw %q in %q", not, saw)
				}
			}
			for _, want := range row.want {
				if !strings.Contains(saw, want) {
					t.Errorf("the endpoint did not see %q in %q", want, saw)
				}
			}
		})
	}
}

func TestRequestIDAndTraceContextArePassedOnOrMade(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	rows := []struct{ name, fields, want, not string }{
		{"neither is given", "", `X-Request-Id: [0-9a-f]{32}\r\n(?s:.*)Traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n`, "Tracestate"},
		{"a sane id is kept", "X-Request-Id: abc-123\r\n", `X-Request-Id: abc-123\r\n`, ""},
		{"an id that could break a log is not", "X-Request-Id: a\"b c\r\n", `X-Request-Id: [0-9a-f]{32}\r\n`, `a"b`},
		{"a trace goes on under a new parent", "Traceparent: 00-" + trace + "-00f067aa0ba902b7-01\r\nTracestate: a=1\r\n",
			`Tracestate: a=1\r\n(?s:.*)Traceparent: 00-` + trace + `-[0-9a-f]{16}-01\r\n`, "00f067aa0ba902b7"},
		{"a broken trace is begun anew without its state", "Traceparent: 00-" + strings.ToUpper(trace) + "-00f067aa0ba902b7-01\r\nTracestate: a=1\r\n",
			`Traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n`, "Tracestate"},
		{"a trace of zeroes is no trace", "Traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n",
			`Traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n`, "00f067aa0ba902b7"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{}, up.addr)
			got := r.send(get(row.fields + "Connection: close\r\n"))
			saw := up.saw()[0]
			if !regexp.MustCompile(row.want).MatchString(saw) {
				t.Errorf("the endpoint saw %q, want %s", saw, row.want)
			}
			if row.not != "" && strings.Contains(saw, row.not) {
				t.Errorf("the endpoint saw %q in %q", row.not, saw)
			}
			id := regexp.MustCompile(`X-Request-Id: (\S+)`)
			if a, b := id.FindString(got), id.FindString(saw); a != b {
				t.Errorf("client and endpoint were told %q and %q", a, b)
			}
		})
	}
}

func TestFieldsOfAnAnswerThatConcernOneHopStayOnIt(t *testing.T) {
	up := newRecorder(t, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-End: 1\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n")
	r := newRig(t, rigConfig{}, up.addr)
	got := r.send(get("X-Request-Id: mine\r\nConnection: close\r\n"))
	for _, not := range []string{"X-Hop", "Keep-Alive", "Proxy-", "Upgrade", "theirs"} {
		if strings.Contains(got, not) {
			t.Errorf("the client saw %q in %q", not, got)
		}
	}
	for _, want := range []string{"X-End: 1\r\n", "X-Request-Id: mine\r\n", "Date: "} {
		if !strings.Contains(got, want) {
			t.Errorf("the client did not see %q in %q", want, got)
		}
	}
}

func TestI1ATrustedProxysWordCountsAsFarAsTheProxiesAreTrusted(t *testing.T) {
	rows := []struct{ name, fields, passed, client string }{
		{"its client is told on with the way", "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: shop.test\r\nX-Forwarded-Proto: https\r\n",
			"X-Forwarded-For: 203.0.113.7, 127.0.0.1\r\nX-Forwarded-Host: shop.test\r\nX-Forwarded-Proto: https\r\n", "203.0.113.7"},
		{"behind further trusted ones", "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-For: 127.0.0.9\r\n",
			"X-Forwarded-For: 6.6.6.6, 203.0.113.7, 127.0.0.9, 127.0.0.1\r\n", "203.0.113.7"},
		{"what is no address is no evidence", "X-Forwarded-For: 203.0.113.7, unknown\r\n", "X-Forwarded-For: 203.0.113.7, unknown, 127.0.0.1\r\n", "127.0.0.1"},
		{"a scheme that is none is not told on", "X-Forwarded-Proto: evil\r\n", "X-Forwarded-Proto: http\r\n", "127.0.0.1"},
	}
	for _, row := range rows {
		bothNamed(t, "I-1 "+row.name, func(t *testing.T, how mode) {
			up := newRecorder(t, "")
			r := newRig(t, rigConfig{how: how, trusted: true}, up.addr)
			if got := r.send(get(row.fields+"Connection: close\r\n") + marker); statusOf(got) != 200 || len(up.saw()) != 1 {
				t.Fatalf("answer %q, the endpoint saw %q", got, up.saw())
			}
			if saw := up.saw()[0]; !strings.Contains(saw, row.passed) {
				t.Errorf("the endpoint saw %q, want %q", saw, row.passed)
			}
			if peer := r.record().peer.String(); peer != row.client {
				t.Errorf("the log tells of %s, want %s", peer, row.client)
			}
		})
	}
}
