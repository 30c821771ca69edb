package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestServicesPrintsLinesForPrograms(t *testing.T) {
	w := newWorld()
	w.client.snapshots = []*mesh.Snapshot{snapshot(1,
		&mesh.Instance{Service: "web", ID: "w1", Address: "10.0.0.1", Port: 80},
		&mesh.Instance{Service: "web", ID: "w2", Address: "10.0.0.2", Port: 80, Health: mesh.Failing, Draining: true},
		&mesh.Instance{Service: "api", ID: "a1", Address: "::1", Port: 81})}
	w.expect(t, w.run(t.Context(), "services"), 0)
	want := "api\ta1\t::1\t81\tpassing\t-\nweb\tw1\t10.0.0.1\t80\tpassing\t-\nweb\tw2\t10.0.0.2\t80\tfailing\tdraining\n"
	if diff := cmp.Diff(want, w.stdout.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestServicesPrintsJSON(t *testing.T) {
	w := newWorld()
	w.client.snapshots = []*mesh.Snapshot{snapshot(7, &mesh.Instance{Service: "Web", ID: "w1", Address: "10.0.0.1", Port: 80,
		Metadata: map[string]string{"weight": "3"}, Registrar: "admin"})}
	w.expect(t, w.run(t.Context(), "services", "--json"), 0)
	var got map[string]any
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"revision": "1.7", "stale": false, "services": []any{map[string]any{"name": "Web",
		"instances": []any{map[string]any{"id": "w1", "incarnation": 0.0, "address": "10.0.0.1", "port": 80.0, "health": "passing",
			"draining": false, "metadata": map[string]any{"weight": "3"}, "registrar": "admin"}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	empty := newWorld()
	empty.expect(t, empty.run(t.Context(), "services", "--json"), 0, `"services": []`)
}

func TestServicesWatchPrintsWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		one := mesh.Instance{Service: "web", ID: "w1", Address: "10.0.0.1", Port: 80, Registrar: "service", RegisteredAt: time.Now().Add(-time.Minute)}
		list := []*mesh.Snapshot{snapshot(1, new(one)), snapshot(2, new(one))}
		then := func(edit func(*mesh.Instance)) {
			edit(&one)
			list = append(list, snapshot(uint64(len(list)+1), new(one)))
		}
		report := mesh.Evidence{Source: "report", Health: mesh.Degraded, Output: "slow"}
		probe := mesh.Evidence{Source: "probe", Health: mesh.Failing, Output: "503\tfrom http://10.0.0.1:80/"}
		then(func(i *mesh.Instance) {
			i.Health, i.HealthBy, i.Evidence = mesh.Failing, "probe", []mesh.Evidence{probe}
		})
		then(func(i *mesh.Instance) { i.Evidence = []mesh.Evidence{probe, report} })
		then(func(i *mesh.Instance) {
			i.Health, i.HealthBy, i.Evidence = mesh.Degraded, "report", []mesh.Evidence{{Source: "probe"}, report}
		})
		then(func(i *mesh.Instance) { i.Health, i.HealthBy, i.Evidence = mesh.Failing, "session", nil })
		then(func(i *mesh.Instance) { i.Health, i.HealthBy, i.Evidence = mesh.Passing, "", nil })
		then(func(i *mesh.Instance) { i.Draining, i.Metadata = true, map[string]string{"weight": "3"} })
		then(func(i *mesh.Instance) { i.Draining, i.Metadata, i.Incarnation, i.Port = false, nil, 2, 81 })
		w.client.snapshots = append(list, snapshot(99))
		w.client.err = mesh.ErrForbidden // ends the watch
		w.expect(t, w.run(t.Context(), "services", "-w"), 5)
		const web, now = "\tweb\tw1\t10.0.0.1\t80\t", "\t2000-01-01T00:00:00Z\t"
		want := "+" + web + "passing\t-" + now + "registered 1m ago by service; passing, as it was registered; nobody has said otherwise\n" +
			"~" + web + "failing\t-" + now + `failing, was passing: probe says "503\tfrom http://10.0.0.1:80/"` + "\n" +
			"~" + web + "failing\t-" + now + `still failing; report says "slow"` + "\n" +
			"~" + web + "degraded\t-" + now + `degraded, was failing: report says "slow"` + "\n" +
			"~" + web + "failing\t-" + now + "failing, was degraded, because the connection of its session broke\n" +
			"~" + web + "passing\t-" + now + "passing, was failing: heard again\n" +
			"~" + web + "passing\tdraining" + now + "drains; metadata is weight=\"3\"\n" +
			"~\tweb\tw1\t10.0.0.1\t81\tpassing\t-" + now + "registered anew by service; moved from 10.0.0.1:80; drains no more; metadata is empty\n" +
			"-\tweb\tw1\t10.0.0.1\t81\tpassing\t-" + now + "deregistered; it was passing\n"
		if diff := cmp.Diff(want, w.stdout.String()); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
}

func TestServicesWatchPrintsJSONLineByLine(t *testing.T) {
	w := newWorld()
	one := &mesh.Instance{Service: "web", ID: "w1", Address: "10.0.0.1", Port: 80}
	w.client.snapshots = []*mesh.Snapshot{snapshot(1, one), snapshot(2, one), snapshot(3)}
	w.client.err = mesh.ErrForbidden // ends the watch
	w.run(t.Context(), "services", "-w", "--json")
	if lines := strings.Count(w.stdout.String(), "\n"); lines != 3 {
		t.Errorf("%d lines of JSON, want one for each of 3 snapshots:\n%s", lines, w.stdout.String())
	}
}

func TestServicesWatchOutlivesANodeThatRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.client.snapshots = []*mesh.Snapshot{snapshot(1)}
		w.client.err = mesh.ErrUnavailable
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		w.expect(t, w.run(ctx, "services", "-w"), 0)
		if n := strings.Count(w.stderr.String(), "trying again"); n != 4 {
			t.Errorf("tried again %d times in 3.5 s, want 4", n)
		}
	})
}

// TestServicesWatchFindsANodeThatCameBackOnOtherPorts has one line for each outage, however long it is.
func TestServicesWatchFindsANodeThatCameBackOnOtherPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		old, back := w.client, &client{snapshots: []*mesh.Snapshot{snapshot(2, &mesh.Instance{Service: "web", ID: "w2"})}, err: mesh.ErrForbidden}
		w.elsewhere = map[string]*client{"127.0.0.1:6010": back}
		old.snapshots, old.err = []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "web", ID: "w1"})}, mesh.ErrUnavailable
		began := time.Now()
		w.lives = func() []pointer.Pointer {
			switch t := time.Since(began); {
			case t == 0:
				return w.living
			case t < time.Minute:
				return nil
			}
			return []pointer.Pointer{node("a", 6010)}
		}
		w.expect(t, w.run(t.Context(), "services", "-w"), 5)
		if out := w.stdout.String(); !strings.Contains(out, "-\tweb\tw1") || !strings.Contains(out, "+\tweb\tw2") {
			t.Errorf("the changes over the restart are missing:\n%s", out)
		}
		if n := strings.Count(w.stderr.String(), "trying again"); n != 1 || strings.Count(w.stderr.String(), "answers again") != 1 {
			t.Errorf("%d lines tell of one outage:\n%s", n, w.stderr.String())
		}
	})
}

func TestServicesWatchOfANodeThatIsNotThereFails(t *testing.T) {
	w := newWorld()
	w.client.err = mesh.ErrUnavailable
	w.expect(t, w.run(t.Context(), "services", "-w"), 4, "to do: ")
}

func TestStatus(t *testing.T) {
	now := time.Now()
	w := newWorld()
	w.client.status = mesh.Status{NodeID: "n-1", Version: "1.2", PID: 42, DataDir: "/data/a", StartedAt: now.Add(-90 * time.Minute),
		Addresses: map[string]string{"gateway": "127.0.0.1:5000"},
		Roles: []mesh.RoleStatus{{Name: "discovery", State: "ready", Since: now.Add(-72 * time.Hour)},
			{Name: "gateway", State: "failed", Restarts: 3, Reason: "boom\x1b[31m"}},
		Registry: mesh.RegistryStatus{Services: 1, Instances: 2, Stale: true},
		Table:    &mesh.TableStatus{Routes: 1, Endpoints: 2},
		Alarms:   []mesh.Alarm{{Code: "TOSKA-STORE-FULL", Detail: "make room"}}}
	w.expect(t, w.run(t.Context(), "status"), 0, "n-1", "not ready", "42, up 1h30m", "127.0.0.1:5000", "1 service, 2 instances, 0 sessions",
		"stale", "1 route, 2 endpoints", "3d", "boom?[31m", "TOSKA-STORE-FULL: make room")

	asJSON := newWorld()
	asJSON.client.status = w.client.status
	asJSON.expect(t, asJSON.run(t.Context(), "status", "--json"), 0, `"nodeId": "n-1"`, `"ready": false`, `"restarts": 3`, `"code": "TOSKA-STORE-FULL"`, `"routes": 1`)
}

func TestStatusFitsTheScreenWithManyAlarms(t *testing.T) {
	w := newWorld()
	for range 100 {
		w.client.status.Alarms = append(w.client.status.Alarms, mesh.Alarm{Code: "TOSKA-STORE-DAMAGED", Detail: "one record"})
	}
	w.expect(t, w.run(t.Context(), "status"), 0, "and 95 alarms more", "toska doctor")
	if lines := strings.Count(w.stdout.String(), "\n"); lines > 40 {
		t.Errorf("status takes %d lines", lines)
	}
}

func TestRegister(t *testing.T) {
	w := newWorld()
	code := w.run(t.Context(), "register", "--name", "ext", "--id", "e1", "--address", "10.0.0.1", "--port", "80", "--metadata", "a=b=c", "--metadata", "d=")
	w.expect(t, code, 0)
	if got := w.stdout.String(); got != "made-1\n" {
		t.Errorf("output = %q, want the id alone", got)
	}
	want := []mesh.Registration{{Service: "ext", ID: "e1", Address: "10.0.0.1", Port: 80, Lifetime: mesh.Permanent,
		Metadata: map[string]string{"a": "b=c", "d": ""}}}
	if diff := cmp.Diff(want, w.client.registered); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
}

func TestDrainAndDeregister(t *testing.T) {
	w := newWorld()
	w.expect(t, w.run(t.Context(), "drain", "e1"), 0)
	w.expect(t, w.run(t.Context(), "deregister", "e1"), 0)
	want := []mesh.Ref{{ID: "e1"}}
	if !cmp.Equal(w.client.drained, want) || !cmp.Equal(w.client.removed, want) {
		t.Errorf("drained %v and removed %v, want %v", w.client.drained, w.client.removed, want)
	}
}

func TestCompletionOffersTheIDs(t *testing.T) {
	w := newWorld()
	w.client.snapshots = []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "web", ID: "w1"})}
	w.expect(t, w.run(t.Context(), "__complete", "drain", ""), 0, "w1\tweb")
	w.expect(t, w.run(t.Context(), "__complete", "drain", "w1", ""), 0)
	w.client.err = mesh.ErrUnavailable
	w.expect(t, w.run(t.Context(), "__complete", "deregister", ""), 0)
}

func TestErrorsBecomeExitCodesAndAdvice(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		says string
	}{
		{errors.New("odd"), 1, "odd"},
		{&mesh.Error{Kind: mesh.ErrInvalid, Detail: "wrong", Fields: []mesh.FieldError{{Field: "port", Problem: "is 0"}}}, 2, "wrong: port: is 0"},
		{mesh.ErrTooLarge, 2, ""},
		{fmt.Errorf("drain: %w", mesh.ErrUnavailable), 4, "toska up"},
		{context.DeadlineExceeded, 4, ""},
		{mesh.ErrUnauthenticated, 5, "--token-file"},
		{mesh.ErrForbidden, 5, "admin token"},
		{mesh.ErrNotFound, 6, "toska services"},
		{mesh.ErrConflict, 8, ""},
		{mesh.ErrStale, 8, "--id"},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			w := newWorld()
			w.client.err = tc.err
			w.expect(t, w.run(t.Context(), "drain", "x"), tc.code, "toska: "+tc.err.Error(), tc.says)
		})
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"nothing prints the help", nil, 0, []string{"toska up", "Examples:"}},
		{"the version", []string{"version"}, 0, []string{"toska ", "go1."}},
		{"an unknown command", []string{"servces"}, 2, []string{"unknown command", "services", "to do: see \"toska --help\""}},
		{"an unknown flag", []string{"up", "--nope"}, 2, []string{"unknown flag", "toska up --help"}},
		{"too much", []string{"status", "x"}, 2, []string{"unknown command"}},
		{"too little", []string{"register"}, 2, []string{"required flag", "name", "port"}},
		{"no id", []string{"drain"}, 2, []string{"want one ID"}},
		{"metadata without a value", []string{"register", "--name", "x", "--port", "1", "--metadata", "k"}, 2, []string{"KEY=VALUE"}},
		{"metadata twice", []string{"register", "--name", "x", "--port", "1", "--metadata", "k=1", "--metadata", "k=2"}, 2, []string{"twice"}},
		{"a port that is no number", []string{"register", "--name", "x", "--port", "http"}, 2, []string{"invalid argument"}},
		{"no program", []string{"run", "--name", "x", "--port", "1"}, 2, []string{"no program is given"}},
		{"a check that is no path", []string{"run", "--name", "x", "--port", "1", "--check", "x", "--", "true"}, 2, []string{"--check wants"}},
		{"no time to start", []string{"run", "--name", "x", "--port", "1", "--start-timeout", "0s", "--", "true"}, 2, []string{"--start-timeout"}},
		{"a name that is no label", []string{"run", "--name", "a b", "--port", "1", "--", "true"}, 2, []string{"service"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.expect(t, w.run(t.Context(), tc.args...), tc.code, tc.says...)
		})
	}
}
