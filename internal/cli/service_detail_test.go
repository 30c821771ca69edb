package cli_test

import (
	"encoding/json"
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
				"GET /healthz every 10s, at most 2s, failing after 3 in a row", `weight="3"`}},
		{"one that says that it fails", []*mesh.Instance{{ID: "w1", Health: mesh.Failing, HealthBy: "report", HealthAt: ago(time.Minute), HealthOutput: "no\x1bdatabase", Lifetime: mesh.Leased}},
			[]string{"0 picked; none is passing: the gateway answers 503", `failing, as it, or a probe of it, reported 1m ago: "no\x1bdatabase"; not picked until`, "leased for 30s from each renewal"}},
		{"one whose session broke, beside a passing one", []*mesh.Instance{{ID: "w1"}, {ID: "w2", Health: mesh.Failing, HealthBy: "session", HealthAt: ago(5 * time.Second)}},
			[]string{"2 instances, 1 picked", "failing, because the connection of its session broke 5s ago; not picked until"}},
		{"one whose lease lapsed", []*mesh.Instance{{ID: "w1", Health: mesh.Failing, HealthBy: "lease", Lifetime: mesh.Leased, TTL: time.Minute}},
			[]string{"because its lease was not renewed", "leased for 1m0s"}},
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
			for _, i := range tc.list {
				i.Service = "web"
			}
			w.client.snapshots = []*mesh.Snapshot{snapshot(1, append(tc.list, &mesh.Instance{Service: "other", ID: "o1"})...)}
			w.expect(t, w.run(t.Context(), "services", "WEB"), 0, tc.says...)
		})
	}
}

func TestServicesOfOneNamePrintsJSON(t *testing.T) {
	w := newWorld()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w.client.snapshots = []*mesh.Snapshot{snapshot(7, &mesh.Instance{Service: "web", ID: "w1", Address: "10.0.0.1", Port: 80, Health: mesh.Degraded,
		HealthBy: "report", HealthAt: at, HealthOutput: "slow", Node: "n-1", Registrar: "admin", RegisteredAt: at, Lifetime: mesh.Leased,
		TTL: time.Minute, Revision: mesh.Revision{Epoch: 1, Number: 5}})}
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
		"healthAt": "2026-01-02T03:04:05Z", "lifetime": "leased", "leaseSeconds": 60.0, "recordRevision": "1.5"}
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
	if diff := cmp.Diff("+\tWeb\tw1\t10.0.0.1\t80\tpassing\t-\n", w.stdout.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	c := newWorld()
	c.client.snapshots = w.client.snapshots
	c.expect(t, c.run(t.Context(), "__complete", "services", ""), 0, "api\nWeb\n")
}
