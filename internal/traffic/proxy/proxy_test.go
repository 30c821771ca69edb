package proxy_test

import (
	"io"
	"strings"
	"testing"
)

func TestARequestIsForwardedWithPrefixStrippedAndOurFieldsSet(t *testing.T) {
	for _, how := range modes {
		up := newRecorder(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Up: a_b\r\n\r\nhello")
		r := newRig(t, rigConfig{how: how}, up.addr)
		got := r.send("GET /api/svc/a/b?x=1;y=2 HTTP/1.1\r\nHost: shop.test\r\nX-Custom: v\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_Host: evil\r\nProxy: evil\r\nConnection: close\r\n\r\n")
		if statusOf(got) != 200 || !strings.HasSuffix(got, "\r\n\r\nhello") || !strings.Contains(got, "X-Up: a_b") {
			t.Fatalf("answer: %q", got)
		}
		saw := up.saw()
		if len(saw) != 1 {
			t.Fatalf("upstream saw %q", saw)
		}
		for _, want := range []string{
			"GET /a/b?x=1;y=2 HTTP/1.1\r\n", "Host: " + up.addr + "\r\n", "X-Custom: v\r\n", "X-Forwarded-For: 127.0.0.1\r\n",
			"X-Forwarded-Host: shop.test\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Prefix: /api/svc\r\n", "X-Request-Id: ", "Traceparent: 00-",
		} {
			if !strings.Contains(saw[0], want) {
				t.Errorf("upstream saw no %q in %q", want, saw[0])
			}
		}
		for _, not := range []string{"6.6.6.6", "evil", "Connection"} {
			if strings.Contains(saw[0], not) {
				t.Errorf("upstream saw %q in %q", not, saw[0])
			}
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	bothNamed(t, "H1-18 a hundred at once", func(t *testing.T, how mode) {
		up := newRecorderFunc(t, func(_ int, head string) string {
			path := strings.Fields(head)[1]
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "3\r\n" + path[:3] + "\r\n0\r\n\r\n"
		})
		r := newRig(t, rigConfig{how: how}, up.addr)
		c := r.dial()
		var raw strings.Builder
		for i := range 100 {
			raw.WriteString("POST /api/svc/" + string([]byte{byte('a' + i/26), byte('a' + i%26)}) + " HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz")
		}
		if _, err := io.WriteString(c, raw.String()); err != nil {
			t.Fatal(err)
		}
		for i, resp := range answers(t, c, "POST", 100) {
			body, _ := io.ReadAll(resp.Body)
			if want := "/" + string([]byte{byte('a' + i/26), byte('a' + i%26)}); string(body) != want {
				t.Fatalf("answer %d is %q, want %q", i, body, want)
			}
		}
		if n := up.connections(); n != 1 {
			t.Errorf("used %d connections, want 1", n)
		}
	})
}

func TestALargeUploadAndALargeAnswerStream(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	up := newRecorder(t, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"+big)
	r := newRig(t, rigConfig{}, up.addr)
	c := r.dial()
	go func() {
		_, _ = io.WriteString(c, "POST /api/svc/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n"+big)
	}()
	resp := answers(t, c, "POST", 1)[0]
	if body, _ := io.ReadAll(resp.Body); string(body) != big {
		t.Errorf("answer has %d bytes, want the 1 MiB that was sent", len(body))
	}
	if saw := up.saw()[0]; !strings.HasSuffix(saw, big) {
		t.Errorf("upload arrived with %d bytes", len(saw))
	}
}
