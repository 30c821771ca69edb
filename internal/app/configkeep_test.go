package app_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// lines is a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) say(want ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		all := true
		for _, w := range want {
			all = all && strings.Contains(line, w)
		}
		if all {
			return true
		}
	}
	return false
}

func (l *lines) use(c *app.Config) { c.Log = slog.New(slog.NewTextHandler(l, nil)) }

// shop returns a file with the route shop, to endpoint.
func shop(endpoint string) string {
	return "services: {all: {endpoints: [\"" + endpoint + "\"]}}\nroutes: [{name: shop, match: {path: {prefix: /shop}}, to: {service: all}}]\n"
}

// config returns what status says of the configuration file.
func (r *running) config() mesh.ConfigStatus {
	r.t.Helper()
	c := nodeapi.NewClient(r.Addresses["control"], r.AdminToken)
	defer c.Close()
	st, err := c.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return st.Config
}

func TestAFileThatIsMadeLaterIsTaken(t *testing.T) {
	path, reload, log := filepath.Join(t.TempDir(), "mesh.yaml"), make(chan os.Signal, 1), &lines{}
	r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
		log.use(c)
		c.Reload = reload
		c.WatchFile(path, func(string) bool { return true })
	})
	if got := r.config(); got.Path != path || got.State != mesh.ConfigNone || !got.LoadedAt.IsZero() {
		t.Errorf("before there is a file: %+v", got)
	}
	reload <- os.Interrupt
	r.until("who asks is answered", func() bool { return log.say("no configuration file", "nothing to take", path) })
	if err := os.WriteFile(path, []byte(shop("127.0.0.1:"+portText(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	r.until("the route is in force", func() bool { status, _ := r.gateway("/shop"); return status == http.StatusOK })
	if got := r.config(); got.State != mesh.ConfigInForce || got.LoadedAt.IsZero() {
		t.Errorf("with a file: %+v", got)
	}
	reload <- os.Interrupt
	r.until("who asks without a change is answered", func() bool { return log.say("configuration unchanged", path) })
}

func TestAFileThatIsEmptiedTakesNothingOut(t *testing.T) {
	for _, row := range []struct{ name, text string }{{"empty", ""}, {"of white space", " \n\n"}} {
		t.Run(row.name, func(t *testing.T) {
			text, log := shop("127.0.0.1:"+portText(t)), &lines{}
			file := newConfigFile(t, text)
			r := startWith(t, t.TempDir(), nil, func(c *app.Config) { log.use(c); file.use(c) })
			file.write(row.text)
			r.until("status says that it is empty", func() bool { return r.alarmed("is empty") })
			if status, _ := r.gateway("/shop"); status != http.StatusOK {
				t.Errorf("the route answers %d", status)
			}
			file.write("# nothing, on purpose\n")
			r.until("a comment takes it out, loudly", func() bool {
				return log.say("level=WARN", "lost what it had", "kind=route", "names=shop") && log.say("level=WARN", "kind=service", "names=all")
			})
			r.until("and the route is gone", func() bool { status, _ := r.gateway("/shop"); return status == http.StatusNotFound })
		})
	}
}

func TestANodeThatHasRunStartsWithItsLastGoodFile(t *testing.T) {
	text, dir := shop("127.0.0.1:"+portText(t)), t.TempDir()
	for _, row := range []struct{ name, text, says string }{
		{"a mistake outside of routes", "rotues: []\n", "mesh.yaml:1:1: rotues"},
		{"an empty file", "", "is empty"},
	} {
		t.Run(row.name, func(t *testing.T) {
			file, log := newConfigFile(t, text), &lines{}
			r := startWith(t, dir, nil, file.use)
			r.until("it is kept", func() bool { _, err := os.Stat(filepath.Join(dir, "tables", "config.json")); return err == nil })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			file.write(row.text)
			r = startWith(t, dir, nil, func(c *app.Config) { log.use(c); file.use(c) })
			if status, _ := r.gateway("/shop"); status != http.StatusOK {
				t.Errorf("the route answers %d", status)
			}
			if !log.say("level=WARN", "configuration is not taken", row.says) || !r.alarmed(row.says) {
				t.Errorf("neither log nor alarms say %q: %v", row.says, r.alarms())
			}
			if got := r.config(); got.State != mesh.ConfigLastGood || got.LoadedAt.IsZero() {
				t.Errorf("status = %+v", got)
			}
			file.write(text)
			r.until("the alarm ends with the mistake", func() bool { return len(r.alarms()) == 0 })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("another file is not the last good one", func(t *testing.T) {
		cfg := app.DefaultConfig()
		cfg.DataDir = dir
		err := cfg.UseFile(newConfigFile(t, "rotues: []\n").path, func(string) bool { return true })
		if mesh.CodeOf(err) != app.CodeConfig {
			t.Errorf("UseFile = %v, want %s", err, app.CodeConfig)
		}
	})
}

func TestEachMistakeIsAnAlarm(t *testing.T) {
	file := newConfigFile(t, "# nothing\n")
	r := startWith(t, t.TempDir(), nil, file.use)
	file.write("rotues: []\nlisteners: {gatway: {}}\n")
	r.until("both are told", func() bool { return r.alarmed("rotues") && r.alarmed("gatway") })
	alarms := r.alarms()
	if len(alarms) != 2 || strings.Contains(strings.Join(alarms, ""), "\n") {
		t.Errorf("alarms = %q, want one line for each mistake", alarms)
	}
}

func TestAFileIsReadOnceItIsAtRest(t *testing.T) {
	path, log, endpoint := filepath.Join(t.TempDir(), "mesh.yaml"), &lines{}, "127.0.0.1:"+portText(t)
	r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
		log.use(c)
		c.WatchFile(path, func(string) bool { return true })
	})
	text := shop(endpoint)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	paused := false // this test was, not the node
	last := time.Now()
	for i := range 30 { // the file grows, and is right only at its end
		if err := os.WriteFile(path, []byte(text[:len(text)*(i+1)/30]), 0o600); err != nil {
			t.Fatal(err)
		}
		now := <-tick.C
		paused = paused || now.Sub(last) > 300*time.Millisecond
		last = now
	}
	r.until("the whole is in force", func() bool { return log.say("configuration in force", "routes=1") })
	if !paused && (log.say("level=ERROR") || log.say("configuration in force", "routes=0")) {
		t.Error("a part of the file was taken, or refused, while it was written")
	}
}

func TestTheDashboardIsOpenedByTheFileAlone(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       int
	}{
		{"closed where everybody could come", "# nothing\n", http.StatusUnauthorized},
		{"open where the file says so", "dashboard: {anonymous: true}\n", http.StatusOK},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := newConfigFile(t, row.text)
			r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
				file.use(c)
				c.ListenGateway = strings.Replace(c.ListenGateway, "127.0.0.1", "0.0.0.0", 1)
			})
			r.Addresses["gateway"] = strings.Replace(r.Addresses["gateway"], "0.0.0.0", "127.0.0.1", 1)
			r.Addresses["gateway"] = strings.Replace(r.Addresses["gateway"], "[::]", "127.0.0.1", 1)
			for _, path := range []string{"/metrics", "/api/dashboard/services"} {
				if status, body := r.gateway(path); status != row.want {
					t.Errorf("%s: %d %.80s, want %d", path, status, body, row.want)
				}
			}
		})
	}
}
