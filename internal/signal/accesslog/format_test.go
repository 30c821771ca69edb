package accesslog_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
)

// headers are those of a request, in lower case.
type headers map[string]string

// Get implements accesslog.Headers.
func (h headers) Get(name string) []byte {
	v, ok := h[name]
	if !ok {
		return nil
	}
	return []byte(v)
}

// written returns what a log with these settings writes for lines.
func written(t testing.TB, s accesslog.Settings, lines ...*accesslog.Line) string {
	t.Helper()
	var out strings.Builder
	l := accesslog.New(&out)
	if err := l.Configure(s); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		l.Write(line)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func settings(change func(*accesslog.Settings)) accesslog.Settings {
	s := accesslog.DefaultSettings()
	change(&s)
	return s
}

func TestTheFormatsThatWebServersShare(t *testing.T) {
	full := fullLine()
	full.Query, full.Headers = []byte("a=1&Token=x"), headers{"referer": "https://else.test/?token=y#access_token=z"}
	nothing := &accesslog.Line{Proto: "HTTP/1.1", Status: 204, Method: []byte("GET"), Path: []byte("/"), Time: full.Time}
	for _, tt := range []struct {
		name   string
		format accesslog.Format
		line   *accesslog.Line
		want   string
	}{
		{"common", accesslog.Common, full, `10.0.0.7 - - [25/Nov/2026:04:05:06 +0000] "GET /a/b?a=1&Token=REDACTED HTTP/1.1" 200 5` + "\n"},
		{"combined", accesslog.Combined, full, `10.0.0.7 - - [25/Nov/2026:04:05:06 +0000] "GET /a/b?a=1&Token=REDACTED HTTP/1.1" 200 5 ` +
			`"https://else.test/?token=REDACTED#access_token=REDACTED" "curl/8"` + "\n"},
		{"nothing is a hyphen", accesslog.Combined, nothing, `- - - [25/Nov/2026:04:05:06 +0000] "GET / HTTP/1.1" 204 - "-" "-"` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := written(t, settings(func(s *accesslog.Settings) { s.Format = tt.format }), tt.line)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyTheChosenFieldsAreInALine(t *testing.T) {
	line := fullLine()
	line.Query, line.Headers = []byte("q=1"), headers{"accept": "a\"b", "authorization": "Bearer x", "referer": "/r"}
	got := written(t, settings(func(s *accesslog.Settings) {
		s.Fields = []string{"status", "query", "referer", "header.accept", "header.authorization", "header.absent"}
	}), line)
	want := `{"query":"q=1","status":200,"referer":"/r","header.accept":"a\"b","header.authorization":"REDACTED"}` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range accesslog.Fields() {
		m := decode(t, []byte(written(t, settings(func(s *accesslog.Settings) { s.Fields = []string{name} }), line)))
		if name != "phases" && name != "code" && name != "correlation_id" && name != "route" && len(m) != 1 {
			t.Errorf("%s alone makes %v", name, m)
		}
	}
}

func TestWhatIsRedactedIsNowhere(t *testing.T) {
	line := fullLine()
	line.Client, line.Host, line.Path, line.UserAgent, line.Reason = netip.MustParseAddr("10.9.9.9"), []byte("SECRET"), []byte("/SECRET"), []byte("SECRET"), "SECRET"
	line.Query, line.RequestID, line.CorrelationID = []byte("SECRET"), []byte("SECRET"), []byte("SECRET")
	line.Headers = headers{"referer": "SECRET", "x": "SECRET", "cookie": "SECRET"}
	all := append(accesslog.Fields(), "header.x", "header.cookie")
	hidden := append(accesslog.RedactableFields(), "header.x")
	for f := range accesslog.Formats() {
		got := written(t, settings(func(s *accesslog.Settings) {
			if s.Format = accesslog.Format(f); f == 0 {
				s.Fields = all
			}
			s.RedactFields = hidden
		}), line)
		if strings.Contains(got, "SECRET") || strings.Contains(got, "10.9.9.9") || !strings.Contains(got, accesslog.Redacted) {
			t.Errorf("the line is %s", got)
		}
	}
}

func TestParametersAreRedactedHoweverTheyAreSpelled(t *testing.T) {
	for _, tt := range []struct{ name, query, want string }{
		{"none", "a=1&b=2", "a=1&b=2"},
		{"first, middle and last", "token=1&a=2&key=3&b=4&password=5", "token=REDACTED&a=2&key=REDACTED&b=4&password=REDACTED"},
		{"case", "ToKeN=1", "ToKeN=REDACTED"},
		{"encoded names", "%74oken=1&t%6Fken=2&api%5fkey=3", "%74oken=REDACTED&t%6Fken=REDACTED&api%5fkey=REDACTED"},
		{"space around names", "+token=1&token%20=2", "+token=REDACTED&token%20=REDACTED"},
		{"semicolons", "a=1;token=2;b=3", "a=1;token=REDACTED;b=3"},
		{"values that hold an equals sign", "token=a=b&c=d", "token=REDACTED&c=d"},
		{"several of a name", "token=1&token=2", "token=REDACTED&token=REDACTED"},
		{"names without a value", "token&token=&=x", "token&token=REDACTED&=x"},
		{"names of others", "tokens=1&mytoken=2", "tokens=1&mytoken=2"},
		{"broken encoding", "%zz=1&%7=2&tok%=3", "%zz=1&%7=2&tok%=3"},
		{"one of ours", "sid=1", "sid=REDACTED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := &accesslog.Line{Query: []byte(tt.query)}
			m := decode(t, []byte(written(t, settings(func(s *accesslog.Settings) {
				s.Fields, s.RedactQuery = []string{"query"}, append(s.RedactQuery, "SID")
			}), line)))
			if m["query"] != tt.want {
				t.Errorf("%q became %q, want %q", tt.query, m["query"], tt.want)
			}
		})
	}
}

func TestASampleLeavesFailuresWhole(t *testing.T) {
	ok, bad := fullLine(), []*accesslog.Line{
		{Status: 404}, {Status: 502, Code: "TOSKA-UP-RESET"}, {Status: 200, Code: "TOSKA-UP-CUT"}, {Status: 0, Code: "TOSKA-CLIENT-GONE"},
	}
	ok.Code = ""
	for _, tt := range []struct {
		sample      float64
		least, most int
	}{{0, 0, 0}, {0.5, 800, 1200}, {1, 2000, 2000}} {
		lines := append([]*accesslog.Line(nil), bad...)
		for range 2000 {
			lines = append(lines, ok)
		}
		out := written(t, settings(func(s *accesslog.Settings) { s.Sample = tt.sample }), lines...)
		good := strings.Count(out, `"status":200,`) - 1
		if n := strings.Count(out, "\n") - good; n != len(bad) || good < tt.least || good > tt.most {
			t.Errorf("sample %v: %d of 2000 that went well and %d of %d that did not", tt.sample, good, n, len(bad))
		}
	}
}

func TestSettingsThatMakeNoSenseAreRefusedAndThoseBeforeStay(t *testing.T) {
	for _, s := range []accesslog.Settings{
		{Sample: math.NaN()}, {Sample: -0.1}, {Sample: 1.1}, {Format: 3, Sample: 1}, {Format: accesslog.Common, Fields: []string{"time"}},
		{Fields: []string{"no"}}, {Fields: []string{"header."}}, {Fields: []string{"header.A"}}, {RedactFields: []string{"status"}},
		{RedactFields: []string{"no"}}, {Fields: make([]string, accesslog.MaxFields+1)},
	} {
		l := accesslog.New(io.Discard)
		if err := l.Configure(s); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	if _, err := accesslog.ParseFormat("xml"); err == nil {
		t.Error("xml is a format")
	}
}

func TestPhasesAndFailuresAreTold(t *testing.T) {
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	line := &accesslog.Line{Code: "TOSKA-UP-TIMEOUT", Phase: "wait", Reason: "r", Phases: accesslog.Phases{
		Accept: ms(1), TLS: ms(2), Parse: ms(3), Match: ms(0.004), Policy: ms(5), Queue: ms(6), Dial: ms(7), Wait: ms(8), Body: ms(9.125), Reused: true,
	}}
	got := written(t, settings(func(s *accesslog.Settings) { s.Fields = []string{"phases", "code"} }), line)
	want := `{"accept_ms":1.000,"tls_ms":2.000,"parse_ms":3.000,"match_ms":0.004,"policy_ms":5.000,"queue_ms":6.000,"dial_ms":7.000,` +
		`"wait_ms":8.000,"body_ms":9.125,"reused":true,"code":"TOSKA-UP-TIMEOUT","phase":"wait"}` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Times are those of their second, whatever came before.
func TestTheSecondThatIsKeptIsNotTakenForAnother(t *testing.T) {
	var lines []*accesslog.Line
	var want strings.Builder
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(-1, 5e8), time.Unix(1e9, 999_999_999), time.Unix(1e9+1, 0), time.Unix(1e9, 1e6),
		time.Unix(1e9, 0).In(time.FixedZone("x", 3600)), {}, time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		lines = append(lines, &accesslog.Line{Time: at})
		if at.UTC().Year() > 9999 {
			at = time.Time{}
		}
		fmt.Fprintf(&want, "{\"time\":%q}\n", at.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	got := written(t, settings(func(s *accesslog.Settings) { s.Fields = []string{"time"} }), lines...)
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var combinedLine = regexp.MustCompile(`^[0-9a-fA-F:.-]+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] ` +
	`"([^"\\]|\\x[0-9a-f]{2})*" \d+ (\d+|-) "([^"\\]|\\x[0-9a-f]{2})*" "([^"\\]|\\x[0-9a-f]{2})*"\n$`)

// N-13 U-9 Whatever a client sends, it cannot leave the place that it has in a line, in no format.
func FuzzNothingBreaksALine(f *testing.F) {
	for i, s := range wild {
		f.Add([]byte(s), []byte(wild[(i+1)%len(wild)]), []byte(wild[(i+2)%len(wild)]))
	}
	f.Add([]byte("token=\r\nx&%0d=1"), []byte("https://a/?token=\n#\u009b"), []byte("\u0085\u2028\U000e0001"))
	f.Fuzz(func(t *testing.T, query, referer, text []byte) {
		line := &accesslog.Line{
			Method: text, Path: text, Query: query, Host: text, Proto: "HTTP/1.1", RequestID: text, CorrelationID: text, UserAgent: text,
			Service: string(text), Endpoint: string(text), Code: "TOSKA-X", Reason: string(text),
			Headers: headers{"referer": string(referer), "x": string(text)},
		}
		out := written(t, settings(func(s *accesslog.Settings) { s.Fields = append(accesslog.Fields(), "header.x") }), line)
		decode(t, []byte(out))
		for _, r := range strings.TrimSuffix(out, "\n") {
			if !unicode.IsPrint(r) {
				t.Errorf("the line of JSON holds %U", r)
			}
		}
		out = written(t, settings(func(s *accesslog.Settings) { s.Format = accesslog.Combined }), line)
		if !combinedLine.MatchString(out) {
			t.Errorf("the combined line is %q", out)
		}
		for _, c := range []byte(strings.TrimSuffix(out, "\n")) {
			if c < 0x20 || c > 0x7e {
				t.Errorf("the combined line holds %#x", c)
			}
		}
	})
}

// place is somewhere lines go.
type place struct {
	slowWriter
	closed bool // guarded by mu
}

// Close implements io.Closer.
func (p *place) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

func TestLinesGoWhereTheLastRedirectSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, third := &place{}, &place{}, &place{}
		l := accesslog.New(first)
		ctx, stop := context.WithCancel(t.Context())
		done := run(ctx, l)
		l.Write(fullLine())
		time.Sleep(time.Second)
		l.Redirect(second)
		l.Write(fullLine()) // which must not be in the first
		time.Sleep(time.Second)
		if first.lines() != 1 || !first.closed || second.lines() != 1 || second.closed {
			t.Errorf("%d and %d lines, closed %v %v; want 1 and 1, and the first closed", first.lines(), second.lines(), first.closed, second.closed)
		}
		l.Write(fullLine())
		l.Redirect(nil)
		l.Write(fullLine()) // to nowhere
		time.Sleep(time.Second)
		if second.lines() != 2 || !second.closed || l.On() {
			t.Errorf("%d lines in the second, closed %v, on %v; want 2, and the log off", second.lines(), second.closed, l.On())
		}
		l.Redirect(&place{})
		l.Redirect(third)
		l.Write(fullLine())
		stop()
		if err := <-done; err != nil || third.lines() != 1 {
			t.Errorf("%v, %d lines in the third, want 1", err, third.lines())
		}
		if err := l.Close(); err != nil || !third.closed {
			t.Errorf("%v, closed %v", err, third.closed)
		}
	})
}

func TestALineIsNotLostWhileTheLogIsRedirected(t *testing.T) {
	places := []*place{{}}
	l := accesslog.New(places[0])
	ctx, stop := context.WithCancel(t.Context())
	done := run(ctx, l)
	const n = 2000
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for i := range n {
			line := fullLine()
			line.Lane = i
			l.Write(line)
		}
	}()
	for range 50 {
		p := &place{}
		places = append(places, p)
		l.Redirect(p)
	}
	<-wrote
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sum := int(l.Dropped())
	for _, p := range places {
		sum += p.lines()
	}
	if sum != n {
		t.Errorf("%d lines of %d", sum, n)
	}
}

// shortWriter takes some bytes and then no more, until it is given room.
type shortWriter struct {
	strings.Builder
	room int
}

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	w.Builder.Write(p[:n])
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestAFullDiskCostsWholeLines(t *testing.T) {
	w := &shortWriter{room: 10}
	l := accesslog.New(w)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for range 3 {
		l.Write(fullLine())
	}
	for room := 1; l.Run(ctx) != nil; room *= 3 {
		w.room = room
		l.Write(fullLine())
	}
	for line := range strings.Lines(w.String()) {
		decode(t, []byte(line))
	}
	if got := strings.Count(w.String(), "\n"); got == 0 || l.Dropped() < 2 || time.Since(l.LastDrop()) > time.Minute {
		t.Errorf("%d lines, %d dropped, the last at %v", got, l.Dropped(), l.LastDrop())
	}
}

func TestALogThatSleptWritesItsNextLineSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{}
		l := accesslog.New(w)
		ctx, stop := context.WithCancel(t.Context())
		done := run(ctx, l)
		for i := range 3 {
			time.Sleep(time.Hour)
			l.Write(fullLine())
			time.Sleep(150 * time.Millisecond)
			if w.lines() != i+1 {
				t.Errorf("%d lines, want %d", w.lines(), i+1)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
