package accesslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
)

func fullLine() *accesslog.Line {
	return &accesslog.Line{
		Time: time.Date(2026, 11, 25, 4, 5, 6, 7_890_000, time.UTC), Duration: 12345 * time.Microsecond, Client: netip.MustParseAddr("10.0.0.7"),
		Method: []byte("GET"), Path: []byte("/a/b"), Host: []byte("shop.test"), Proto: "HTTP/1.1", Status: 200, BytesIn: 3, BytesOut: 5,
		RequestID: []byte("abc"), TraceID: [16]byte{1, 2, 3, 0xff}, Service: "Web", Endpoint: "10.0.0.9:80", Attempts: 2,
		Upstream: 1500 * time.Microsecond, UserAgent: []byte("curl/8"), Code: "TOSKA-UP-CUT", Reason: "unexpected EOF", Upgraded: true,
	}
}

func decode(t testing.TB, line []byte) map[string]any {
	t.Helper()
	if n := bytes.Count(line, []byte("\n")); n != 1 || line[len(line)-1] != '\n' {
		t.Fatalf("%q is not one line", line)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%q is no JSON: %v", line, err)
	}
	return m
}

func TestALineSaysWhatItKnows(t *testing.T) {
	want := map[string]any{
		"time": "2026-11-25T04:05:06.007Z", "client": "10.0.0.7", "method": "GET", "host": "shop.test", "path": "/a/b", "proto": "HTTP/1.1",
		"status": 200.0, "duration_ms": 12.345, "bytes_in": 3.0, "bytes_out": 5.0, "service": "Web", "endpoint": "10.0.0.9:80", "attempts": 2.0,
		"upstream_ms": 1.5, "upgraded": true, "code": "TOSKA-UP-CUT", "reason": "unexpected EOF", "user_agent": "curl/8",
		"request_id": "abc", "trace_id": "010203ff000000000000000000000000",
	}
	if diff := cmp.Diff(want, decode(t, fullLine().Append(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestALineLeavesOutWhatItDoesNotKnow(t *testing.T) {
	line := accesslog.Line{Duration: -time.Second}
	want := map[string]any{
		"time": "0001-01-01T00:00:00.000Z", "client": "", "method": "", "host": "", "path": "", "proto": "", "status": 0.0, "duration_ms": 0.0,
		"bytes_in": 0.0, "bytes_out": 0.0, "request_id": "", "trace_id": strings.Repeat("0", 32),
	}
	if diff := cmp.Diff(want, decode(t, line.Append(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// wild are strings that a client can send, or that a broken one does.
var wild = []string{
	"", "plain", `quote " and \ backslash`, "line\nfeed\r", "\x00\x01\x1f\x7f", "ümläut ✓ 🙂", "\xff\xfe half \xc3", "\xed\xa0\x80", "\u2028\u2029",
	`{"a":1}`, "</script>", strings.Repeat("x", 5000),
}

func FuzzLineIsOneLineOfJSON(f *testing.F) {
	for i, s := range wild {
		f.Add([]byte(s), []byte(wild[(i+1)%len(wild)]), []byte(wild[(i+2)%len(wild)]), wild[(i+3)%len(wild)], 200, int64(12345))
	}
	f.Fuzz(func(t *testing.T, method, path, agent []byte, service string, status int, d int64) {
		line := accesslog.Line{
			Method: method, Path: path, Host: agent, UserAgent: agent, RequestID: path, Service: service, Endpoint: service, Status: status,
			Duration: time.Duration(d), Upstream: time.Duration(d), Code: "TOSKA-X", Reason: service, Time: time.Unix(1e9, d),
		}
		b := line.Append([]byte("before"))
		rest, ok := bytes.CutPrefix(b, []byte("before"))
		if !ok {
			t.Fatal("what was there before was changed")
		}
		m := decode(t, rest)
		for key, want := range map[string][]byte{"method": method, "path": path, "user_agent": agent, "service": []byte(service)} {
			if len(want) == 0 {
				continue
			}
			if got := m[key]; got != strings.ToValidUTF8(string(want), "\ufffd") && utf8.Valid(want) {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		for _, c := range rest[:len(rest)-1] {
			if c < 0x20 || c == 0x7f {
				t.Errorf("the line holds the control character %#x", c)
			}
		}
	})
}

// slowWriter takes a write only when it is let.
type slowWriter struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
	let chan struct{}
	err error
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.let != nil {
		<-w.let
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	return w.buf.Write(p)
}

func (w *slowWriter) lines() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Count(w.buf.Bytes(), []byte("\n"))
}

func run(ctx context.Context, l *accesslog.Log) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return done
}

func TestLinesAreWrittenSoonAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{}
		l := accesslog.New(w)
		ctx, stop := context.WithCancel(t.Context())
		done := run(ctx, l)
		l.Write(fullLine())
		time.Sleep(flushed)
		synctest.Wait()
		if w.lines() != 1 {
			t.Errorf("%d lines were written after 150 ms, want 1", w.lines())
		}
		l.Write(fullLine())
		l.Write(fullLine())
		stop()
		if err := <-done; err != nil || w.lines() != 3 {
			t.Errorf("Run ended with %v and %d lines, want all 3", err, w.lines())
		}
	})
}

// flushed is when a line is written at the latest.
const flushed = 150 * time.Millisecond

func TestManyLinesDoNotWaitForTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{}
		l := accesslog.New(w)
		ctx, stop := context.WithCancel(t.Context())
		done := run(ctx, l)
		l.Write(fullLine())
		time.Sleep(flushed)
		for range 1000 { // more than 64 KiB
			l.Write(fullLine())
		}
		synctest.Wait()
		if w.lines() < 100 {
			t.Errorf("%d lines were written though much is waiting", w.lines())
		}
		stop()
		if err := <-done; err != nil || w.lines() != 1001 {
			t.Errorf("%d lines, want 1001", w.lines())
		}
	})
}

func TestASlowWriterCostsLinesAndNeverTime(t *testing.T) {
	w := &slowWriter{let: make(chan struct{})}
	l := accesslog.New(w)
	ctx, stop := context.WithCancel(t.Context())
	done := run(ctx, l)
	const n = 60000 // some 30 MB
	for range n {
		l.Write(fullLine())
	}
	if l.Dropped() == 0 {
		t.Error("nothing was dropped though nothing was written")
	}
	close(w.let)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := int64(w.lines()) + l.Dropped(); got != n {
		t.Errorf("%d lines written and %d dropped of %d", w.lines(), l.Dropped(), n)
	}
	for _, line := range bytes.SplitAfter(w.buf.Bytes(), []byte("\n"))[:100] {
		decode(t, line)
	}
}

func TestAWriterThatFailsEndsRunAndItsLinesAreCounted(t *testing.T) {
	w := &slowWriter{err: io.ErrShortWrite}
	l := accesslog.New(w)
	l.Write(fullLine())
	l.Write(fullLine())
	if err := <-run(t.Context(), l); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Run ended with %v", err)
	}
	if l.Dropped() != 2 {
		t.Errorf("%d lines are counted as dropped, want 2", l.Dropped())
	}
	// The disk came back.
	w.mu.Lock()
	w.err = nil
	w.mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	done := run(ctx, l)
	l.Write(fullLine())
	stop()
	if err := <-done; err != nil || w.lines() != 1 {
		t.Errorf("another Run ended with %v and %d lines", err, w.lines())
	}
}

func TestManyMayWriteAtOnce(t *testing.T) {
	w := &slowWriter{}
	l := accesslog.New(w)
	ctx, stop := context.WithCancel(t.Context())
	done := run(ctx, l)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				l.Write(fullLine())
			}
		})
	}
	wg.Wait()
	stop()
	if err := <-done; err != nil || int64(w.lines())+l.Dropped() != 3200 {
		t.Errorf("%v, %d lines, %d dropped, want 3200", err, w.lines(), l.Dropped())
	}
	for line := range bytes.SplitAfterSeq(w.buf.Bytes(), []byte("\n")) {
		if len(line) > 0 {
			decode(t, line)
		}
	}
}

func TestALineAllocatesNothing(t *testing.T) {
	line, buf := fullLine(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = line.Append(buf[:0]) }); n != 0 {
		t.Errorf("a line allocates %v times", n)
	}
}

func TestSeveralAttemptsAreToldOneByOne(t *testing.T) {
	for _, row := range []struct {
		name  string
		tried []accesslog.Attempt
		want  any
	}{
		{"none are left out", nil, nil},
		{"one that failed and one that served", []accesslog.Attempt{{Endpoint: "10.0.0.1:80", Code: "TOSKA-UP-UNWELL", Reason: `says "no"`}, {Endpoint: "10.0.0.2:80"}},
			[]any{map[string]any{"endpoint": "10.0.0.1:80", "code": "TOSKA-UP-UNWELL", "reason": `says "no"`}, map[string]any{"endpoint": "10.0.0.2:80"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got map[string]any
			if err := json.Unmarshal((&accesslog.Line{Tried: row.tried}).Append(nil), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, got["tried"]); diff != "" {
				t.Errorf("tried (-want +got):\n%s", diff)
			}
		})
	}
}
