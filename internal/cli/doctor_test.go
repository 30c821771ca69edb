package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// machine is one that the doctor looks over.
type machine struct {
	data     app.DataState
	free     int64
	open     int
	most     int
	taken    map[string]string // holder by address
	pointers []pointer.Found
	now      time.Time
}

// soundMachine has nothing wrong with it.
func soundMachine() machine {
	return machine{data: app.DataState{Path: "/data/a", Exists: true, Held: true, Holder: "process 42"},
		free: 100 << 30, open: 12, most: 65536, now: time.Now()}
}

func (m machine) Data(string) (app.DataState, error) { return m.data, nil }
func (m machine) FreeSpace(string) (int64, error)    { return m.free, nil }
func (m machine) OpenFiles(int) (int, int, error)    { return m.open, m.most, nil }
func (m machine) Now() time.Time                     { return m.now }
func (m machine) Taken(_ context.Context, addr string) (string, error) {
	return m.taken[addr], nil
}
func (m machine) Pointers(context.Context) ([]pointer.Found, error) { return m.pointers, nil }

// wellNode is what a node says that has nothing to complain about.
func (w *world) wellNode(t *testing.T) {
	t.Helper()
	v := newWorld()
	v.expect(t, v.run(t.Context(), "version", "--json"), 0)
	var mine struct{ Version string }
	if err := json.Unmarshal([]byte(v.stdout.String()), &mine); err != nil {
		t.Fatal(err)
	}
	w.client.status = mesh.Status{Version: mine.Version, PID: 42, Ready: true, StartedAt: w.now.Add(-time.Hour),
		Addresses: map[string]string{"gateway": "127.0.0.1:5000"},
		Roles:     []mesh.RoleStatus{{Name: "gateway", State: "ready"}}}
	w.client.snapshots = []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "web", ID: "w1"})}
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(w *world)
		code  int
		says  []string
	}{
		{"nothing", func(*world) {}, 0, []string{"ok    data", "in use by process 42", "ok    disk", "ok    clock", "ok    files", "ok    node",
			"gateway listens on 127.0.0.1:5000", "1 service with every instance passing", " 0 to watch, 0 to repair"}},
		{"a data directory that a start would refuse", func(w *world) {
			w.data.Problems = []error{&mesh.Error{Code: "TOSKA-DATA-NEWER", Detail: "format 9"}}
		}, 9, []string{"fail  data", "format 9", "to do: toska help TOSKA-DATA-NEWER", "1 to repair", "something does not work"}},
		{"no data directory yet", func(w *world) { w.data = app.DataState{Path: "/none/at/all"} }, 0, []string{"the first start makes it"}},
		{"a full disk", func(w *world) { w.free = 1 << 20 }, 9, []string{"fail  disk", "1 MiB free"}},
		{"a disk that fills", func(w *world) { w.free = 200 << 20 }, 0, []string{"warn  disk", "200 MiB free"}},
		{"hardly any files", func(w *world) { w.most = 64 }, 9, []string{"fail  files", "ulimit -n"}},
		{"few files", func(w *world) { w.most = 1024 }, 0, []string{"warn  files", "LimitNOFILE"}},
		{"files nearly used up", func(w *world) { w.open = 60000 }, 0, []string{"warn  files", "60000 of 65536"}},
		{"a clock that was never set", func(w *world) { w.now = time.Unix(0, 0) }, 9, []string{"fail  clock", "1970"}},
		{"a clock that was turned back", func(w *world) {
			w.now, w.data.Path = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), "."
			w.client.status.StartedAt = time.Time{}
		}, 0, []string{"warn  clock", "in the future"}},
		{"a node in the future", func(w *world) { w.client.status.StartedAt = w.now.Add(time.Hour) }, 0, []string{"warn  clock", "differ"}},
		{"a pointer to a dead node", func(w *world) {
			w.pointers = []pointer.Found{{Path: "/p/1.json", Pointer: pointer.Pointer{PID: 7, DataDir: "/data/dead"}}}
		}, 0, []string{"warn  pointers", "process 7", "toska up --data /data/dead", "0 running nodes"}},
		{"a pointer that is passed over", func(w *world) {
			w.pointers = []pointer.Found{{Path: "/p/1.json", Problem: errors.New("open to other users")}, {Living: true}}
		}, 0, []string{"warn  pointers", "open to other users", "chmod 600", "1 running node of"}},
		{"another version", func(w *world) { w.client.status.Version = "0.0.1" }, 0, []string{"warn  node", "is version 0.0.1"}},
		{"a node that is not ready", func(w *world) { w.client.status.Ready = false }, 9, []string{"fail  node", "not ready"}},
		{"a role that failed", func(w *world) {
			w.client.status.Roles = []mesh.RoleStatus{{Name: "gateway", State: "failed", Reason: "boom\x1b[31m"}}
		}, 9, []string{"fail  node", "role gateway has failed: boom?[31m"}},
		{"a role that restarts", func(w *world) {
			w.client.status.Roles = []mesh.RoleStatus{{Name: "gateway", State: "restarting", Reason: "boom"}}
		}, 0, []string{"warn  node", "restarting (last failure: boom)"}},
		{"a role that came back", func(w *world) {
			w.client.status.Roles = []mesh.RoleStatus{{Name: "gateway", State: "ready", Restarts: 2}}
		}, 0, []string{"warn  node", "ready after 2 restarts"}},
		{"a stale registry", func(w *world) { w.client.status.Registry.Stale = true }, 0, []string{"warn  node", "stale"}},
		{"a quarantined object", func(w *world) {
			w.client.status.Alarms = []mesh.Alarm{{Code: "TOSKA-STORE-DAMAGED", Detail: "record x"}}
		}, 0, []string{"warn  node", "record x", "toska help TOSKA-STORE-DAMAGED"}},
		{"a store that ended", func(w *world) {
			w.client.status.Alarms = []mesh.Alarm{{Code: mesh.CodeStoreFailed, Detail: "disk"}}
		}, 9, []string{"fail  node", "toska help TOSKA-STORE-FAILED"}},
		{"a service with one bad instance", func(w *world) {
			w.client.snapshots = []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "web", ID: "w1"}, &mesh.Instance{Service: "web", ID: "w2", Health: mesh.Failing})}
		}, 0, []string{"warn  service", "web: 1 of 2 instances passing", "to do: toska services web"}},
		{"a service without a good instance", func(w *world) {
			w.client.snapshots = []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "web", ID: "w1", Health: mesh.Failing})}
		}, 9, []string{"fail  service", "answers 503"}},
		{"a node that refuses", func(w *world) { w.client.err = mesh.ErrForbidden }, 9, []string{"fail  node", "admin token"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.wellNode(t)
			tc.spoil(w)
			w.expect(t, w.run(t.Context(), "doctor"), tc.code, tc.says...)
		})
	}
}

func TestDoctorWithoutANode(t *testing.T) {
	w := newWorld()
	w.living = nil
	w.data.Held = false
	w.taken = map[string]string{"127.0.0.1:8080": "java (process 9)"}
	w.expect(t, w.run(t.Context(), "doctor"), 0, "warn  node", "toska up", "no node uses it", "127.0.0.1:5000 is free for gateway",
		"warn  ports", "taken by java (process 9)", "--listen-discovery", "a node started here may have 65536")
	if len(w.dialed) > 0 {
		t.Errorf("dialed %v", w.dialed)
	}
}

func TestDoctorLooksAtEveryNode(t *testing.T) {
	w := newWorld()
	w.wellNode(t)
	w.living = append(w.living, node("b", 6010))
	w.expect(t, w.run(t.Context(), "doctor"), 0)
	if diff := cmp.Diff([]string{"127.0.0.1:5010 a-admin", "127.0.0.1:6010 b-admin"}, w.dialed); diff != "" {
		t.Errorf("dialed (-want +got):\n%s", diff)
	}
	one := newWorld()
	one.wellNode(t)
	one.expect(t, one.run(t.Context(), "doctor", "--control", "10.0.0.9:5010", "--token", "x"), 0, "gateway listens on 127.0.0.1:5000 of its machine")
	if strings.Contains(one.stdout.String(), "data") {
		t.Errorf("the doctor looks at a data directory for a node elsewhere:\n%s", one.stdout.String())
	}
}

func TestDoctorPrintsJSON(t *testing.T) {
	w := newWorld()
	w.wellNode(t)
	w.free = 200 << 20
	w.expect(t, w.run(t.Context(), "doctor", "--json"), 0)
	var got struct {
		Verdict  string
		Findings []struct{ Area, Verdict, Says, ToDo string }
	}
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Verdict != "warn" || len(got.Findings) < 6 {
		t.Errorf("doctor --json = %+v", got)
	}
	for _, f := range got.Findings {
		if (f.Area == "disk") != (f.Verdict == "warn") || (f.ToDo != "") != (f.Verdict == "warn") || f.Says == "" {
			t.Errorf("finding %+v", f)
		}
	}
}

func TestDoctorWithoutANodeLooksAtTheFileBesideTheData(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		taken      map[string]string
		code       int
		says       []string
	}{
		{"none", "", nil, 0, []string{"ok    config", "there is no", "127.0.0.1:5000 is free for gateway"}},
		{"one in order, with addresses of its own", "control: {address: \"127.0.0.1:7\"}\n" + rightConfig,
			map[string]string{"127.0.0.1:7": "other (process 9)"}, 0,
			[]string{"ok    config", "1 service, 1 route", "warn  ports", "127.0.0.1:7", "that of control, is taken by other (process 9)", "127.0.0.1:5000 is free for gateway"}},
		{"one with a route that is wrong", badRoute, nil, 0, []string{"warn  config", "mesh.yaml:5:20", "did you mean", "to do: toska config check"}},
		{"one that is not taken", badConfig, nil, 9, []string{"fail  config", "mesh.yaml:1:1", "mesh.yaml:2:11", "a node does not take the file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.machine = soundMachine()
			w.data = app.DataState{Path: filepath.Join(t.TempDir(), "data")}
			w.living, w.taken = nil, tc.taken
			if tc.file != "" {
				if err := os.WriteFile(filepath.Join(filepath.Dir(w.data.Path), "mesh.yaml"), []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.expect(t, w.run(t.Context(), "doctor", "--data", w.data.Path), tc.code, tc.says...)
		})
	}
}
