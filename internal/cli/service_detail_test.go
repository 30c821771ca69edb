package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestServicesOfOneNameTellsWhy(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for _, tc := range []struct {
		name string
		list []*mesh.Instance
		says []string
	}{
		{"one that nobody has judged", []*mesh.Instance{{ID: "w1", Address: "::1", Port: 80, Registrar: "service", Node: "n-1", Incarnation: 7,
			RegisteredAt: ago(3 * time.Hour), Metadata: map[string]string{"weight": "3"}, Check: &mesh.Check{HTTP: "/healthz"}}},
			[]string{"web: 1 instance, 1 picked; the passing ones are picked", "INSTANCE", "w1", "[::1]:80", "passing, as it was registered; nobody has said otherwise",
				"3h0m ago by service, incarnation 7", "held by its session; when that is lost, failing after 250ms and gone 30s later", "n-1",
				"GET /healthz every 10s, at most 2s, failing after 3 in a row, passing after 2", `weight="3"`}},
		{"one that says that it fails", []*mesh.Instance{{ID: "w1", Health: mesh.Failing, HealthBy: "report", HealthAt: ago(time.Minute), HealthOutput: "no\x1bdatabase", Lifetime: mesh.Leased}},
			[]string{"0 picked; none is passing: the gateway answers 503", `failing for 1m: report says "no\x1bdatabase"; not picked until`, "leased for 30s from each renewal"}},
		{"one whose session broke, beside a passing one", []*mesh.Instance{{ID: "w1"}, {ID: "w2", Health: mesh.Failing, HealthBy: "session", HealthAt: ago(5 * time.Second)}},
			[]string{"2 instances, 1 picked", "failing for 5s, because the connection of its session broke; not picked until"}},
		{"one whose lease lapsed", []*mesh.Instance{{ID: "w1", Health: mesh.Failing, HealthBy: "lease", Lifetime: mesh.Leased, TTL: time.Minute}},
			[]string{"because its lease was not renewed", "leased for 1m0s"}},
		{"one whose probe and report differ", []*mesh.Instance{{ID: "w1", Health: mesh.Failing, HealthBy: "probe", HealthAt: ago(12 * time.Second),
			HealthOutput: "503 from http://10.0.0.1:80/healthz", Evidence: []mesh.Evidence{
				{Source: "probe", Health: mesh.Failing, Output: "503 from http://10.0.0.1:80/healthz", At: ago(12 * time.Second)},
				{Source: "report", At: ago(time.Hour)}}}},
			[]string{`failing for 12s: probe says "503 from http://10.0.0.1:80/healthz"; report says passing; not picked until`,
				`    probe     failing for 12s: "503 from`, "    report    passing for 1h0m"}},
		{"one whose session broke after it had said something", []*mesh.Instance{{ID: "w1", Health: mesh.Suspect, HealthBy: "session", HealthAt: ago(time.Second),
			Evidence: []mesh.Evidence{{Source: "report", Health: mesh.Degraded, Output: "slow"}, {Source: "session", Health: mesh.Suspect, At: ago(time.Second)}}}},
			[]string{`suspect for 1s, because the connection of its session broke together with most of the service; report says "slow"`}},
		{"one that is probed", []*mesh.Instance{{ID: "probed", Incarnation: 7, Check: &mesh.Check{HTTP: "/up", TLS: true, Port: 81, Up: 1}}},
			[]string{"GET /up over TLS on port 81 every 10s", "passing after 1", `https://10.0.0.1:81/up, 3s ago: failed after 12ms, 2 in a row: "answered 503"`}},
		{"one that is to be probed", []*mesh.Instance{{ID: "new", Incarnation: 7}}, []string{"tcp 10.0.0.1:81, not yet"}},
		{"one that was heard again", []*mesh.Instance{{ID: "w1", HealthAt: ago(time.Minute)}}, []string{"passing, since it was heard again 1m ago"}},
		{"a degraded one beside a passing one", []*mesh.Instance{{ID: "w1"}, {ID: "w2", Health: mesh.Degraded}}, []string{"1 picked", "not picked while others are passing"}},
		{"only last resorts", []*mesh.Instance{{ID: "w1", Health: mesh.Suspect}, {ID: "w2", Health: mesh.Degraded}}, []string{"2 picked", "as a last resort"}},
		{"one that drains", []*mesh.Instance{{ID: "w1", Draining: true}}, []string{"0 picked; none is in rotation", "it drains"}},
		{"one that wants TLS", []*mesh.Instance{{ID: "w1", Metadata: map[string]string{"scheme": "HTTPS"}}}, []string{"0 picked", "scheme=https"}},
		{"a permanent one with a TCP check", []*mesh.Instance{{ID: "w1", Lifetime: mesh.Permanent, Check: &mesh.Check{Interval: time.Second, Down: 1}}},
			[]string{"permanent, until it is deregistered", "a TCP connection every 1s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.client.probes = []mesh.ProbeStatus{
				{ID: "probed", Incarnation: 7, Target: "https://10.0.0.1:81/up", At: ago(3 * time.Second), Took: 12 * time.Millisecond, Output: "answered 503", InARow: 2},
				{ID: "new", Incarnation: 7, Target: "tcp 10.0.0.1:81"}, {ID: "w1", Incarnation: 99, Target: "another incarnation"}}
			for _, i := range tc.list {
				i.Service = "web"
			}
			w.client.snapshots = []*mesh.Snapshot{snapshot(1, append(tc.list, &mesh.Instance{Service: "other", ID: "o1"})...)}
			w.expect(t, w.run(t.Context(), "services", "WEB"), 0, tc.says...)
			if strings.Contains(w.stdout.String(), "another incarnation") {
				t.Error("the probe of another incarnation is shown")
			}
		})
	}
}

func TestServicesOfOneNamePrintsJSON(t *testing.T) {
	w := newWorld()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w.client.snapshots = []*mesh.Snapshot{snapshot(7, &mesh.Instance{Service: "web", ID: "w1", Address: "10.0.0.1", Port: 80, Health: mesh.Degraded,
		HealthBy: "report", HealthAt: at, HealthOutput: "slow", Node: "n-1", Registrar: "admin", RegisteredAt: at, Lifetime: mesh.Leased,
		TTL: time.Minute, Revision: mesh.Revision{Epoch: 1, Number: 5},
		Evidence: []mesh.Evidence{{Source: "probe"}, {Source: "report", Health: mesh.Degraded, Output: "slow", At: at}}})}
	w.client.probes = []mesh.ProbeStatus{{ID: "w1", Target: "tcp 10.0.0.1:80", At: at, Took: time.Second, OK: true, InARow: 2}}
	w.expect(t, w.run(t.Context(), "services", "web", "--json"), 0)
	var got map[string]any
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	list, _ := got["instances"].([]any)
	if len(list) != 1 {
		t.Fatalf("instances = %v", got["instances"])
	}
	i, _ := list[0].(map[string]any)
	delete(i, "why")
	want := map[string]any{"id": "w1", "incarnation": 0.0, "address": "10.0.0.1", "port": 80.0, "health": "degraded", "healthOutput": "slow",
		"draining": false, "registrar": "admin", "node": "n-1", "registeredAt": "2026-01-02T03:04:05Z", "picked": true, "healthBy": "report",
		"healthAt": "2026-01-02T03:04:05Z", "lifetime": "leased", "leaseSeconds": 60.0, "recordRevision": "1.5",
		"evidence": []any{map[string]any{"source": "probe", "health": "passing"},
			map[string]any{"source": "report", "health": "degraded", "output": "slow", "at": "2026-01-02T03:04:05Z"}},
		"probe": map[string]any{"target": "tcp 10.0.0.1:80", "at": "2026-01-02T03:04:05Z", "tookSeconds": 1.0, "ok": true, "inARow": 2.0, "health": "passing"}}
	if diff := cmp.Diff(want, i); diff != "" {
		t.Errorf("instance (-want +got):\n%s", diff)
	}
	if got["name"] != "web" || got["revision"] != "1.7" || got["picked"] != 1.0 {
		t.Errorf("service = %v", got)
	}
}

func TestServicesOfANameThatIsNotThere(t *testing.T) {
	w := newWorld()
	w.client.snapshots = []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "web", ID: "w1"})}
	w.expect(t, w.run(t.Context(), "services", "wbe"), 6, "show service wbe: not found", "to do: registered now: web")
	empty := newWorld()
	empty.expect(t, empty.run(t.Context(), "services", "wbe"), 6, "toska run --name wbe")
}

func TestServicesOfOneNameCanBeWatchedAndCompleted(t *testing.T) {
	w := newWorld()
	w.client.snapshots = []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "Web", ID: "w1", Address: "10.0.0.1", Port: 80}, &mesh.Instance{Service: "api", ID: "a1"})}
	w.client.err = mesh.ErrForbidden // ends the watch
	w.expect(t, w.run(t.Context(), "services", "web", "-w"), 5)
	if got := w.stdout.String(); !strings.HasPrefix(got, "+\tWeb\tw1\t10.0.0.1\t80\tpassing\t-\t") || strings.Count(got, "\n") != 1 {
		t.Errorf("output = %q, want the one instance of web", got)
	}
	c := newWorld()
	c.client.snapshots = w.client.snapshots
	c.expect(t, c.run(t.Context(), "__complete", "services", ""), 0, "api\nWeb\n")
}
