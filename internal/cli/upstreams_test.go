package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// ejectedTri has three instances, of which the gateway has put one out.
func ejectedTri(now time.Time) ([]*mesh.Snapshot, []mesh.UpstreamStatus) {
	in := func(id string, port int) *mesh.Instance {
		return &mesh.Instance{Service: "tri", ID: id, Address: "10.0.0.1", Port: port}
	}
	return []*mesh.Snapshot{snapshot(1, in("t1", 81), in("t2", 82), in("t3", 83))},
		[]mesh.UpstreamStatus{{Service: "tri", Source: mesh.UpstreamRegistry, Ejections: 1, Retries: 5, Endpoints: []mesh.EndpointStatus{
			{Address: "10.0.0.1:81", Instance: "t1", Picked: true, Share: 1, InFlight: 2},
			{Address: "10.0.0.1:82", Instance: "t2", Why: "ejected: 5 attempts in a row failed, the last with TOSKA-UP-UNWELL",
				LastFailure: "TOSKA-UP-UNWELL", LastFailureAt: now.Add(-2 * time.Second),
				EjectedAt: now.Add(-2 * time.Second), EjectedUntil: now.Add(time.Hour), EjectedFor: "5 attempts in a row failed, the last with TOSKA-UP-UNWELL"},
			{Address: "10.0.0.1:83", Instance: "t3", Picked: true, Share: 0.4, Why: "warms up: gets 40 % of its share"},
		}}}
}

// fileLegacy is a service of the file in the place of a registered one, with a dead endpoint.
func fileLegacy(now time.Time) ([]*mesh.Snapshot, []mesh.UpstreamStatus) {
	return []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "legacy", ID: "l1", Address: "10.0.0.1", Port: 80})},
		[]mesh.UpstreamStatus{{Service: "legacy", Source: mesh.UpstreamFile, Origin: "mesh.yaml:4:3", Overridden: 1, Endpoints: []mesh.EndpointStatus{
			{Address: "10.0.0.7:8080", Picked: true, Share: 1},
			{Address: "10.0.0.8:8080", Picked: true, Share: 1, Failures: 9, LastFailure: "TOSKA-UP-CONN-REFUSED", LastFailureAt: now.Add(-time.Second)},
		}}}
}

func quarantinedShop(time.Time) ([]*mesh.Snapshot, []mesh.UpstreamStatus) {
	return []*mesh.Snapshot{snapshot(1, &mesh.Instance{Service: "shop", ID: "s1", Address: "10.0.0.1", Port: 80})},
		[]mesh.UpstreamStatus{{Service: "shop", Source: mesh.UpstreamRegistry, Quarantined: "mesh.yaml:4:3: unknown key", Why: "its entry is quarantined",
			Endpoints: []mesh.EndpointStatus{{Address: "10.0.0.1:80", Instance: "s1"}}}}
}

func TestWhatTheGatewaySawIsShownEverywhere(t *testing.T) {
	for _, tc := range []struct {
		name  string
		world func(time.Time) ([]*mesh.Snapshot, []mesh.UpstreamStatus)
		args  string
		code  int
		says  []string
		never string
	}{
		{"an ejected instance in the list", ejectedTri, "services", 0,
			[]string{"tri\tt1\t10.0.0.1\t81\tpassing\t-\n", "tri\tt2\t10.0.0.1\t82\tpassing\tejected\n"}, ""},
		{"an ejected instance by itself", ejectedTri, "services tri", 0,
			[]string{"tri: 3 instances, 2 picked; the passing ones are picked; 1 ejected by the gateway on what it saw",
				"not picked for now: the gateway has ejected it", "ejected 2s ago, for another", "5 attempts in a row failed, the last with TOSKA-UP-UNWELL",
				"warms up: gets 40 % of its share", "2 in flight"}, ""},
		{"an ejected instance in the status", ejectedTri, "status", 0, []string{"ejected", "1 endpoint on what the gateway saw: 10.0.0.1:82 of tri"}, ""},
		{"an ejected instance and the doctor", ejectedTri, "doctor", 0,
			[]string{"warn  service", "tri: 1 of 3 endpoints not well by what the gateway saw: 10.0.0.1:82 is ejected", "toska services tri"}, "every instance passing"},
		{"endpoints of the file in the list", fileLegacy, "services", 0,
			[]string{"legacy\tl1\t10.0.0.1\t80\tpassing\toverridden\n", "legacy\t-\t10.0.0.7\t8080\t-\tfile\n", "legacy\t-\t10.0.0.8\t8080\t-\tfailing\n"}, ""},
		{"endpoints of the file by themselves", fileLegacy, "services legacy", 0,
			[]string{"legacy: 2 endpoints of mesh.yaml:4:3, 2 picked; the endpoints of the file are picked; they stand in the place of 1 registered instance",
				"10.0.0.7:8080  yes     nothing wrong", "last failure 9 in a row, 1s ago: TOSKA-UP-CONN-REFUSED", "not picked: the endpoints of the file stand in its place"}, ""},
		{"endpoints of the file and the doctor", fileLegacy, "doctor", 0,
			[]string{"the file's endpoints at mesh.yaml:4:3 override 1 registered instance", "10.0.0.8:8080 failed 9 times in a row, last with TOSKA-UP-CONN-REFUSED 1s ago"}, "every instance passing"},
		{"a quarantined entry in the list", quarantinedShop, "services", 0, []string{"shop\ts1\t10.0.0.1\t80\tpassing\tquarantined\n"}, ""},
		{"a quarantined entry by itself", quarantinedShop, "services shop", 0,
			[]string{"0 picked; the file's entry is quarantined, and the gateway answers 503", "TOSKA-ROUTE-QUARANTINED", "mesh.yaml:4:3: unknown key"}, "the passing ones are picked"},
		{"a quarantined entry and the doctor", quarantinedShop, "doctor", 9, []string{"fail  service", "shop: the file's entry is quarantined"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.wellNode(t)
			w.client.snapshots, w.client.upstreams = tc.world(time.Now())
			w.expect(t, w.run(t.Context(), strings.Fields(tc.args)...), tc.code, tc.says...)
			if tc.never != "" && strings.Contains(w.stdout.String(), tc.never) {
				t.Errorf("it says %q:\n%s", tc.never, w.stdout.String())
			}
		})
	}
}

func TestAServiceOfTheFileAloneIsThere(t *testing.T) {
	w := newWorld()
	_, w.client.upstreams = fileLegacy(time.Now())
	w.client.upstreams[0].Overridden = 0
	w.expect(t, w.run(t.Context(), "services", "Legacy"), 0, "2 endpoints of mesh.yaml:4:3, 2 picked; the endpoints of the file are picked\n")
	w = newWorld()
	_, w.client.upstreams = fileLegacy(time.Now())
	w.expect(t, w.run(t.Context(), "services", "--json"), 0)
	var got struct {
		Services []struct {
			Name, Source, Origin string
			Instances            []any
			Endpoints            []struct {
				Address     string
				Failures    int
				LastFailure string
			}
		}
	}
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Services) != 1 || got.Services[0].Source != "file" || got.Services[0].Origin != "mesh.yaml:4:3" || got.Services[0].Instances == nil ||
		len(got.Services[0].Endpoints) != 2 || got.Services[0].Endpoints[1].Failures != 9 || got.Services[0].Endpoints[1].LastFailure != "TOSKA-UP-CONN-REFUSED" {
		t.Errorf("services = %+v", got.Services)
	}
}
