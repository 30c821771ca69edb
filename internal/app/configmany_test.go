package app_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/wire/gatewayapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// configFile is a configuration file that is replaced as a whole, as editors and deployments do.
type configFile struct {
	t      *testing.T
	path   string
	reload chan os.Signal
}

func newConfigFile(t *testing.T, text string) *configFile {
	t.Helper()
	f := &configFile{t, filepath.Join(t.TempDir(), "mesh.yaml"), make(chan os.Signal, 1)}
	f.write(text)
	return f
}

func (f *configFile) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path+".new", []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		f.t.Fatal(err)
	}
	f.ask()
}

// ask has the file read anew at once.
func (f *configFile) ask() {
	select {
	case f.reload <- os.Interrupt:
	default:
	}
}

// use makes a node read the file. The listeners are the test's own.
func (f *configFile) use(c *app.Config) {
	c.Reload = f.reload
	if err := c.UseFile(f.path, func(string) bool { return true }); err != nil {
		f.t.Fatal(err)
	}
}

// alarms returns what status says is wrong.
func (r *running) alarms() []string {
	r.t.Helper()
	c := nodeapi.NewClient(r.Addresses["control"], r.AdminToken)
	defer c.Close()
	st, err := c.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, a := range st.Alarms {
		out = append(out, a.Detail)
	}
	return out
}

func (r *running) alarmed(want string) bool {
	return slices.ContainsFunc(r.alarms(), func(a string) bool { return strings.Contains(a, want) })
}

func (r *running) routes() (inForce, quarantined []mesh.RouteStatus) {
	r.t.Helper()
	c := gatewayapi.NewClient(r.Addresses["control"], r.AdminToken)
	defer c.Close()
	all, err := c.Routes(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, route := range all {
		switch {
		case route.Kind != mesh.RouteConfigured:
		case route.State == mesh.RouteInForce:
			inForce = append(inForce, route)
		default:
			quarantined = append(quarantined, route)
		}
	}
	return inForce, quarantined
}

// manyRoutes is a configuration of n routes to one service outside the registry, of which those are bad
// that bad says.
func manyRoutes(n int, endpoint string, bad func(i int) bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  all: {endpoints: [%q]}\nroutes:\n", endpoint)
	for i := range n {
		key := "prefix"
		if bad(i) {
			key = "prefx"
		}
		fmt.Fprintf(&b, "  - {name: r%d, match: {path: {%s: /p%d}}, to: {service: all}}\n", i, key, i)
	}
	return b.String()
}

func TestBadObjectsAreQuarantinedAndTheRestAppliesAlsoAfterARestart(t *testing.T) {
	endpoint := "127.0.0.1:" + portText(t)
	for _, row := range []struct {
		name   string
		n, bad int
		alarms int
		last   string
	}{
		{"U-9 one of 3,000", 3_000, 1, 1, `route "r7" is quarantined`},
		{"U-9 10,000 of 10,001", 10_001, 10_000, 21, "and 9980 more objects are quarantined; toska config check "},
	} {
		t.Run(row.name, func(t *testing.T) {
			bad := func(i int) bool { return i == 7 && row.bad == 1 || i > 0 && row.bad > 1 }
			file := newConfigFile(t, manyRoutes(row.n, endpoint, bad))
			dir := t.TempDir()
			var before [2][]mesh.RouteStatus
			for run := range 2 {
				began := time.Now()
				r := startWith(t, dir, nil, file.use)
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the start took %v", took)
				}
				if status, body := r.gateway("/p0/x"); status != http.StatusOK || body != "served /p0/x" {
					t.Errorf("a good route answers %d %s", status, body)
				}
				if status, _ := r.gateway("/p7/x"); status != http.StatusNotFound {
					t.Errorf("a bad route answers %d", status)
				}
				alarms := r.alarms()
				if len(alarms) != row.alarms || !strings.Contains(alarms[len(alarms)-1], row.last) || !strings.Contains(alarms[0], "mesh.yaml:") {
					t.Errorf("%d alarms, the last %q; want %d and %q", len(alarms), alarms[len(alarms)-1], row.alarms, row.last)
				}
				good, quarantined := r.routes()
				if len(good) != row.n-row.bad || len(quarantined) != row.bad {
					t.Fatalf("%d routes in force and %d quarantined, want %d and %d", len(good), len(quarantined), row.n-row.bad, row.bad)
				}
				if q := quarantined[0]; !strings.Contains(q.Reason, `did you mean "prefix"?`) || !strings.Contains(q.Origin, "mesh.yaml:") {
					t.Errorf("quarantined %+v, want its place and the word that was meant", q)
				}
				if run == 0 {
					before = [2][]mesh.RouteStatus{good, quarantined}
				} else if diff := cmp.Diff(before, [2][]mesh.RouteStatus{good, quarantined}); diff != "" {
					t.Errorf("after the restart (-before +after):\n%s", diff)
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				if m.HeapInuse > 512<<20 {
					t.Errorf("%d MiB of heap are in use", m.HeapInuse>>20)
				}
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAStartUnderTrafficAndChangesOfManyRoutes(t *testing.T) {
	const n = 5_000
	endpoint := "127.0.0.1:" + portText(t)
	good := func(int) bool { return false }
	file := newConfigFile(t, manyRoutes(n, endpoint, good))
	last := fmt.Sprintf("/p%d/x", n-1)
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	r := beginWith(t, t.TempDir(), holdStore(held), file.use)

	t.Run("U-10 nothing is ready or answered before the first whole table", func(t *testing.T) {
		r.until("the port answers", func() bool { status, _ := r.gateway("/livez"); return status != 0 })
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
			status, body := r.gateway(last)
			if alive, _ := r.gateway("/livez"); alive != http.StatusOK {
				t.Fatalf("livez is %d while the table is awaited", alive)
			}
			if ready, _ := r.gateway("/readyz"); ready == http.StatusOK || status != http.StatusServiceUnavailable || !strings.Contains(body, "TOSKA-ROUTE-NOT-READY") {
				t.Fatalf("before the first table: readyz %d, the route %d %s", ready, status, body)
			}
		}
	})
	t.Run("U-10 the first request after it is ready finds the last route", func(t *testing.T) {
		release()
		r.until("it is ready", func() bool { status, _ := r.gateway("/readyz"); return status == http.StatusOK })
		if status, body := r.gateway(last); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
		r.awaitReady()
	})
	t.Run("U-10 no request fails while the configuration and the registry change", func(t *testing.T) {
		var served, failed atomic.Int64
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for c := range 4 {
			clients.Go(func() {
				for i := c; ; i += 997 {
					select {
					case <-stop:
						return
					default:
					}
					path := fmt.Sprintf("/p%d/x", i%n)
					if status, body := r.gateway(path); status == http.StatusOK {
						served.Add(1)
					} else if failed.Add(1) == 1 {
						t.Errorf("%s answers %d %s", path, status, body)
					}
				}
			})
		}
		for i := range 4 {
			extra := fmt.Sprintf("/extra%d", i)
			file.write(manyRoutes(n, endpoint, good) + "  - {name: extra, match: {path: {prefix: " + extra + "}}, to: {service: all}}\n")
			r.register(mesh.Registration{Service: fmt.Sprintf("s%d", i), Address: "127.0.0.1", Port: 9, Lifetime: mesh.Permanent})
			r.until("the new route is in force", func() bool { status, _ := r.gateway(extra + "/x"); return status == http.StatusOK })
		}
		close(stop)
		clients.Wait()
		if status, _ := r.gateway("/extra0/x"); status != http.StatusNotFound {
			t.Errorf("a route that was taken out answers %d", status)
		}
		t.Logf("%d requests served, %d failed", served.Load(), failed.Load())
	})
}

func TestAFileThatCannotBeReadLeavesTheLastOneInForce(t *testing.T) {
	text := manyRoutes(1, "127.0.0.1:"+portText(t), func(int) bool { return false })
	file := newConfigFile(t, text)
	r := startWith(t, t.TempDir(), nil, file.use)
	for _, row := range []struct {
		name, says string
		spoil      func(path string) error
	}{
		{"N-16 a file that is too large", "more than 4 MiB", func(path string) error {
			return os.WriteFile(path, []byte("#"+strings.Repeat("x", 5<<20)), 0o600)
		}},
		{"N-16 a directory", "is a directory", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"U-8 no file at all", "read the configuration", func(string) error { return nil }},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := os.Remove(file.path); err != nil {
				t.Fatal(err)
			}
			if err := row.spoil(file.path); err != nil {
				t.Fatal(err)
			}
			file.ask()
			r.until("status says why", func() bool { return r.alarmed(row.says) && r.alarmed("the last good configuration stays in force") })
			if status, body := r.gateway("/p0/x"); status != http.StatusOK {
				t.Errorf("the last good route answers %d %s", status, body)
			}
			_ = os.Remove(file.path)
			file.write(text)
			r.until("a good file ends the alarm", func() bool { return len(r.alarms()) == 0 })
		})
	}
}

func TestWhatIsReadAtTheStartOnlyIsNamedWhenItChanges(t *testing.T) {
	for _, row := range []struct{ name, was, is, want string }{
		{"nothing", "limits: {fields: 50}\n", "limits: {fields: 50}\n# other words\n", ""},
		{"a limit", "limits: {fields: 50}\n", "limits: {fields: 60}\n", "limits"},
		{"a limit that is taken out", "limits: {fields: 50}\n", "", "limits"},
		{"an address that the file had", "control: {address: \"127.0.0.1:0\"}\n", "control: {address: \"127.0.0.1:1\"}\n", "control.address"},
		{"an address that is another's, and others", "control: {address: \"127.0.0.1:0\"}\n",
			"control: {address: \"127.0.0.1:0\"}\nlisteners: {gateway: {address: \":1\"}}\ndiscovery: {address: \":1\", anonymous: true}\notlp: {ratio: 0.5}\n",
			"discovery.anonymous, otlp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := newConfigFile(t, row.was)
			r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
				// Control's address is the file's to say, the others are the test's.
				c.ListenControl, c.Reload = app.DefaultConfig().ListenControl, file.reload
				if err := c.UseFile(file.path, func(flag string) bool { return flag != "listen-control" }); err != nil {
					t.Fatal(err)
				}
				c.ListenControl = strings.Replace(c.ListenControl, ":5010", ":0", 1)
			})
			file.write(row.is + "routes: [{name: seen, to: {service: seen}}]\n")
			r.until("the file is in force", func() bool { return r.counted() > 0 })
			want := []string{file.path + ": takes effect at the next start: " + row.want}
			if row.want == "" {
				want = nil
			}
			if diff := cmp.Diff(want, r.alarms()); diff != "" {
				t.Errorf("alarms (-want +got):\n%s", diff)
			}
			file.write(row.was + "# as it was at the start\n")
			r.until("what is as it was at the start is no alarm", func() bool { return len(r.alarms()) == 0 })
		})
	}
}

// counted is how many configured routes the table has.
func (r *running) counted() int {
	r.t.Helper()
	c := nodeapi.NewClient(r.Addresses["control"], r.AdminToken)
	defer c.Close()
	st, err := c.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return st.Table.Routes
}

func TestTheEnvironmentWinsOverTheDefaultsOfTheFile(t *testing.T) {
	unwell := func() string {
		ln := listenLocal(t)
		srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		})}
		go func() { _ = srv.Serve(ln) }() // ends with Close
		t.Cleanup(func() { _ = srv.Close() })
		return ln.Addr().String()
	}
	text := fmt.Sprintf("defaults: {retry: {attempts: 1}}\nservices:\n  all: {endpoints: [%q, %q]}\n"+
		"  own: {endpoints: [%q, %q], retry: {attempts: 1}}\n", unwell(), unwell(), unwell(), unwell())
	for _, row := range []struct {
		name     string
		attempts int
		path     string
		want     string
	}{
		{"the file has the say where the environment is silent", 0, "/api/all/", `"attempts":1`},
		{"the environment has the say over the defaults", 2, "/api/all/", `"attempts":2`},
		{"a service has the say over both", 2, "/api/own/", `"attempts":1`},
	} {
		t.Run(row.name, func(t *testing.T) {
			file, log := newConfigFile(t, text), filepath.Join(t.TempDir(), "access.log")
			r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
				file.use(c)
				c.Attempts, c.AccessLog = row.attempts, log
			})
			if status, body := r.gateway(row.path); status != http.StatusServiceUnavailable {
				t.Fatalf("%d %s", status, body)
			}
			r.until("the request is in the log", func() bool {
				b, err := os.ReadFile(log)
				return err == nil && strings.Contains(string(b), row.path)
			})
			if b, _ := os.ReadFile(log); !strings.Contains(string(b), row.want) {
				t.Errorf("the log says %s, want %s", b, row.want)
			}
		})
	}
}
