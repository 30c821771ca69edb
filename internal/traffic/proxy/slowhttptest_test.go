package proxy_test

import (
	"net/http"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/http1"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
)

// probeFailed and probeServed are what the tool tells of its own probes, in colours.
var (
	probeFailed = regexp.MustCompile(`service available:[^\n]*NO`)
	probeServed = regexp.MustCompile(`service available:[^\n]*YES`)
)

// slowhttptest plays the four attacks that it knows. It asks beside them whether the gateway still answers.
func TestSlowhttptest(t *testing.T) {
	tool, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Skip("slowhttptest is not installed (Debian: apt-get install slowhttptest)")
	}
	if testing.Short() {
		t.Skip("it takes a few seconds")
	}
	for _, attack := range []struct {
		name string
		args []string
	}{
		{"W-9 slowloris", []string{"-H", "-i", "1"}},
		{"W-9 slow body", []string{"-B", "-i", "1", "-s", "8192"}},
		{"W-9 ranges", []string{"-R", "-a", "10", "-b", "3000"}},
		{"W-9 slow read", []string{"-X", "-n", "1", "-w", "10", "-y", "20", "-z", "5"}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			timeouts := http1.DefaultTimeouts()
			timeouts.Head = 2 * time.Second
			r := newRig(t, rigConfig{timeouts: timeouts, policy: route.Policy{Idle: 2 * time.Second}}, newUpstream(t, byPath))
			url := "http://" + r.addr + "/api/svc/x"
			if attack.args[0] == "-X" {
				url = "http://" + r.addr + "/api/svc/endless"
			}
			args := append([]string{"-c", "200", "-r", "200", "-l", "6", "-p", "2", "-u", url}, attack.args...)
			ended := make(chan struct{})
			asked := make(chan int)
			go func() { // our own client is served at all times
				n := 0
				client := &http.Client{Timeout: 8 * time.Second}
				defer client.CloseIdleConnections()
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-ended:
						asked <- n
						return
					case <-tick.C:
					}
					resp, err := client.Get("http://" + r.addr + "/api/svc/x")
					if err != nil || resp.StatusCode != 200 {
						t.Errorf("beside the attack a request got %v, %v", resp, err)
						continue
					}
					_ = resp.Body.Close()
					n++
				}
			}()
			out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
			close(ended)
			if n := <-asked; err != nil || n == 0 {
				t.Errorf("%v: %d requests were answered beside\n%s", err, n, out)
			}
			// The probe of a slow read is as long as its answer.
			if attack.args[0] != "-X" && (probeFailed.Match(out) || !probeServed.Match(out)) {
				t.Errorf("the tool found the gateway away:\n%s", out)
			}
			waitFor(t, "the attack's connections are gone", func() bool { return r.server.Connections() == 0 })
		})
	}
}
