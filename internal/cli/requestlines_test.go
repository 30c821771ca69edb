package cli_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/cli"
	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
)

func TestARequestIsOneShortLineOnATerminal(t *testing.T) {
	at := time.Date(2026, 11, 25, 4, 5, 6, 0, time.Local)
	for _, tc := range []struct {
		name    string
		line    accesslog.Line
		colours bool
		want    string
	}{
		{"one that went well", accesslog.Line{Method: []byte("GET"), Path: []byte("/api/web/"), Status: 200, Duration: 340 * time.Microsecond,
			Service: "Web", Endpoint: "127.0.0.1:9000", Attempts: 1}, false,
			"04:05:06 200 GET  /api/web/             0.3 ms  127.0.0.1:9000\n"},
		{"one whose path does not name the service", accesslog.Line{Method: []byte("POST"), Path: []byte("/shop/webs"), Status: 201,
			Duration: 12 * time.Second, Service: "web", Endpoint: "127.0.0.1:9000", Attempts: 1}, false,
			"04:05:06 201 POST /shop/webs            12.0 s  web 127.0.0.1:9000\n"},
		{"one that was tried again", accesslog.Line{Method: []byte("GET"), Path: []byte("/api/web/x"), Status: 200, Duration: time.Second,
			Service: "web", Endpoint: "127.0.0.1:9000", Attempts: 2}, true,
			"04:05:06 \x1b[33m200\x1b[0m GET  /api/web/x         1000.0 ms  127.0.0.1:9000, 2 attempts\n"},
		{"one that failed", accesslog.Line{Method: []byte("GET"), Path: []byte("/api/web/x"), Status: 502, Service: "web",
			Code: "TOSKA-UP-CUT", Reason: "unexpected EOF"}, true,
			"04:05:06 \x1b[31m502\x1b[0m GET  /api/web/x            0.0 ms  TOSKA-UP-CUT: unexpected EOF\n"},
		{"one that the gateway answered itself", accesslog.Line{Method: []byte("GET"), Path: []byte("/health"), Status: 200}, true,
			"04:05:06 \x1b[32m200\x1b[0m GET  /health               0.0 ms\n"},
		{"U-9 one that would steer the terminal", accesslog.Line{Method: []byte("GET"), Path: []byte("/\x1b[2J"), Status: 404, Service: "\x07",
			Upgraded: true}, false,
			"04:05:06 404 GET  /?[2J                 0.0 ms  ?, upgraded\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.line.Time, tc.line.Client = at, netip.AddrFrom4([4]byte{127, 0, 0, 1})
			var out strings.Builder
			w := cli.NewRequestLines(&out, tc.colours)
			b := tc.line.Append(nil)
			// However it is cut.
			for _, part := range [][]byte{b[:20], b[20:21], b[21:]} {
				if n, err := w.Write(part); n != len(part) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if out.String() != tc.want {
				t.Errorf("line is\n%q, want\n%q", out.String(), tc.want)
			}
		})
	}
}

func TestWhatIsNoRequestIsShownAsItIs(t *testing.T) {
	var out strings.Builder
	w := cli.NewRequestLines(&out, false)
	if _, err := w.Write([]byte("not JSON\n{\"status\":200}\n")); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "not JSON\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("shown: %q", got)
	}
}

func TestATerminalThatIsGoneIsAnErrorOfTheLog(t *testing.T) {
	w := cli.NewRequestLines(gone{}, false)
	if _, err := w.Write([]byte("{}\n")); !errors.Is(err, errGone) {
		t.Errorf("Write returned %v", err)
	}
}

var errGone = errors.New("gone")

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errGone }
