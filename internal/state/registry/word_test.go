package registry_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// before is what records looked like while they kept the verdict alone.
const before = `{"id":"web-1","service":"web","incarnation":7,"address":"node:n1","loopback":"127.0.0.1","port":8080,` +
	`"metadata":{"weight":"3"},"check":{"HTTP":"/healthz","Interval":1000000000,"Timeout":1000000000,"Down":2},` +
	`"lifetime":1,"ttl":60000000000,"health":"failing","healthOutput":"no answer","healthAt":"2026-02-03T04:05:06.000007Z",` +
	`"verdict":"lease","before":"degraded","draining":true,"registrar":"service","node":"n1","registeredAt":"2026-02-03T04:05:06.000007Z"}`

func TestARecordOfAnEarlierVersionIsRead(t *testing.T) {
	header, err := hex.DecodeString("01655fbafd")
	if err != nil {
		t.Fatal(err)
	}
	got, err := registry.Decode(append(header, before...))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)
	want := registry.Record{
		ID: "web-1", Service: "web", Incarnation: 7, Address: "node:n1", Loopback: "127.0.0.1", Port: 8080,
		Metadata: map[string]string{"weight": "3"},
		Check:    &mesh.Check{HTTP: "/healthz", Interval: time.Second, Timeout: time.Second, Down: 2},
		Lifetime: mesh.Leased, TTL: time.Minute, Began: mesh.Degraded,
		Words:  []registry.Word{{By: registry.ByLease, Health: mesh.Failing, Output: "no answer", At: at}},
		Health: mesh.Failing, HealthOutput: "no answer", HealthAt: at, Verdict: registry.ByLease,
		Draining: true, Registrar: "service", Node: "n1", RegisteredAt: at,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Decode (-want +got):\n%s", d)
	}
}

// A store that an earlier version wrote is served as that version served it, and goes on from there.
func TestAVerdictOfAnEarlierVersionGoesOn(t *testing.T) {
	const at = `"healthAt":"2026-02-03T04:05:06Z"`
	for _, c := range []struct {
		name, stored   string
		health, by     string
		afterARenewal  string
		afterAGoodWord string
	}{
		{"one that nobody has judged", `"health":"passing"`, "passing", "", "passing", "passing"},
		{"one that began failing", `"health":"failing"`, "failing", "", "failing", "passing"},
		{"one that was heard again", `"health":"passing",` + at, "passing", "", "passing", "passing"},
		{"one that reported failing", `"health":"failing","healthOutput":"no disk","verdict":"report",` + at, "failing", "report", "failing", "failing"},
		{"one that reported degraded", `"health":"degraded","verdict":"report",` + at, "degraded", "report", "degraded", "degraded"},
		{"one whose lease lapsed", `"health":"failing","verdict":"lease",` + at, "failing", "lease", "passing", "passing"},
		{"one that was degraded when its lease lapsed", `"health":"failing","verdict":"lease","before":"degraded",` + at, "failing", "lease", "degraded", "passing"},
		{"a suspect", `"health":"suspect","verdict":"lease",` + at, "suspect", "lease", "passing", "passing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewStore()
				content := `{"id":"a","service":"web","address":"10.0.0.1","port":80,"lifetime":1,` + c.stored +
					`,"registrar":"service","node":"other","registeredAt":"2026-02-03T04:05:06Z"}`
				_, err := store.Commit(t.Context(), registry.Txn{Journal: []byte("j"), Writes: []registry.Write{
					{Key: "instance/a", Data: registry.Seal([]byte(content))}}})
				if err != nil {
					t.Fatal(err)
				}
				r := start(t, store)
				inst, err := r.Instance(t.Context(), "a")
				if err != nil || inst.Health.String() != c.health || inst.HealthBy != c.by {
					t.Fatalf("it is %s by %q (%v), want %s by %q", inst.Health, inst.HealthBy, err, c.health, c.by)
				}
				r.stop()
				// The same store on the node that hears the instance.
				r = startWith(t, registry.Config{NodeID: "other"}, store)
				synctest.Wait()
				if err := r.Renew(service(t), mesh.Ref{ID: "a"}); err != nil {
					t.Fatal(err)
				}
				wantHealth(t, r, "a", c.afterARenewal)
				judge(t, r, mesh.Passing)
				wantHealth(t, r, "a", c.afterAGoodWord)
			})
		})
	}
}

func insider(tb testing.TB) identity.Caller {
	tb.Helper()
	return identity.Caller{Trusted: true}
}

// judge and report say a word on the instance a.
func judge(tb testing.TB, r *running, h mesh.Health) {
	tb.Helper()
	err := r.Judge(identity.NewContext(tb.Context(), insider(tb)), mesh.Ref{ID: "a"}, mesh.Report{Health: h, Output: "probed " + h.String()})
	if err != nil {
		tb.Fatalf("Judge(a, %s) = %v", h, err)
	}
}

func report(tb testing.TB, r *running, h mesh.Health) {
	tb.Helper()
	if err := r.Report(service(tb), mesh.Ref{ID: "a"}, mesh.Report{Health: h, Output: "says " + h.String()}); err != nil {
		tb.Fatalf("Report(a, %s) = %v", h, err)
	}
}

func TestEvidenceTellsWhoSaidWhatAndWhen(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		began := time.Now().UTC()
		report(t, r, mesh.Degraded)
		advance(time.Second)
		judge(t, r, mesh.Failing)
		judge(t, r, mesh.Failing)
		advance(time.Second)
		report(t, r, mesh.Degraded)
		inst, err := r.Instance(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		want := []mesh.Evidence{
			{Source: "probe", Health: mesh.Failing, Output: "probed failing", At: began.Add(time.Second)},
			{Source: "report", Health: mesh.Degraded, Output: "says degraded", At: began},
		}
		if d := cmp.Diff(want, inst.Evidence); d != "" {
			t.Errorf("evidence (-want +got):\n%s", d)
		}
		if inst.HealthBy != "probe" || inst.HealthOutput != "probed failing" || !inst.HealthAt.Equal(began.Add(time.Second)) {
			t.Errorf("the verdict is by %q at %s: %q, want the probe's", inst.HealthBy, inst.HealthAt, inst.HealthOutput)
		}
		judge(t, r, mesh.Passing)
		advance(time.Second)
		s.Close(true)
		advance(time.Second)
		again, err := r.Instance(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if again.HealthBy != "session" || len(again.Evidence) != 3 || again.Evidence[2].Source != "session" {
			t.Errorf("after its session was lost it is by %q, evidence %+v", again.HealthBy, again.Evidence)
		}
		report(t, r, mesh.Degraded)
		heard, err := r.Instance(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if heard.HealthBy != "report" || !heard.HealthAt.Equal(began.Add(4*time.Second)) || !heard.Evidence[1].At.Equal(began) {
			t.Errorf("heard again, it is by %q at %s on the word of %s, want the report's of %s and the health of now",
				heard.HealthBy, heard.HealthAt, heard.Evidence[1].At, began)
		}
		if len(inst.Evidence) != 2 || inst.Evidence[0].Health != mesh.Failing {
			t.Errorf("an instance that was handed out was modified: %+v", inst.Evidence)
		}
	})
}

func TestAHealthThatTwoSourcesChangeIsSinceItChanged(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		openSession(t, r, "a", 0)
		began := time.Now()
		for i, c := range []struct {
			name  string
			say   func()
			since int // second
		}{
			{"the report fails", func() { report(t, r, mesh.Failing) }, 0},
			{"the probe fails as well", func() { judge(t, r, mesh.Failing) }, 0},
			{"the report passes, and the probe still fails", func() { report(t, r, mesh.Passing) }, 0},
			{"the probe passes too", func() { judge(t, r, mesh.Passing) }, 3},
			{"the probe fails again", func() { judge(t, r, mesh.Failing) }, 4},
		} {
			c.say()
			inst, err := r.Instance(t.Context(), "a")
			if want := began.Add(time.Duration(c.since) * time.Second); err != nil || !inst.HealthAt.Equal(want) {
				t.Errorf("%d %s: %s since %s (%v), want since %s", i, c.name, inst.Health, inst.HealthAt, err, want)
			}
			advance(time.Second)
		}
	})
}

func TestWordsJoinToOneVerdict(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	word := func(by registry.Verdict, h mesh.Health, second int) registry.Word {
		return registry.Word{By: by, Health: h, Output: string(by), At: at.Add(time.Duration(second) * time.Second)}
	}
	for _, c := range []struct {
		name  string
		began mesh.Health
		words []registry.Word
		want  mesh.Health
		by    registry.Verdict
	}{
		{"no word leaves what it began with", mesh.Failing, nil, mesh.Failing, registry.ByNobody},
		{"what it began with is over once a probe has spoken", mesh.Failing, []registry.Word{word(registry.ByProbe, mesh.Passing, 0)}, mesh.Passing, registry.ByProbe},
		{"the worse of two counts: the probe's", 0, []registry.Word{word(registry.ByProbe, mesh.Failing, 1), word(registry.ByReport, mesh.Degraded, 0)}, mesh.Failing, registry.ByProbe},
		{"the worse of two counts: the report's", 0, []registry.Word{word(registry.ByProbe, mesh.Passing, 0), word(registry.ByReport, mesh.Degraded, 1)}, mesh.Degraded, registry.ByReport},
		{"the earlier counts of two that are as bad", 0, []registry.Word{word(registry.ByProbe, mesh.Failing, 1), word(registry.ByReport, mesh.Failing, 0)}, mesh.Failing, registry.ByReport},
		{"a soft word wins over a worse one", 0, []registry.Word{word(registry.ByProbe, mesh.Failing, 0), word(registry.BySession, mesh.Suspect, 1)}, mesh.Suspect, registry.BySession},
		{"a soft word wins over an earlier one", 0, []registry.Word{word(registry.ByProbe, mesh.Failing, 0), word(registry.BySession, mesh.Failing, 1)}, mesh.Failing, registry.BySession},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := registry.Encode(registry.Record{ID: "a", Service: "web", Port: 1, Began: c.began, Health: c.began, Words: c.words})
			if err != nil {
				t.Fatal(err)
			}
			rec, err := registry.Decode(data)
			if err != nil || rec.Health != c.want || rec.Verdict != c.by || rec.HealthOutput != string(c.by) {
				t.Errorf("it is %s by %q: %q (%v), want %s by %q", rec.Health, rec.Verdict, rec.HealthOutput, err, c.want, c.by)
			}
		})
	}
}

// A probe that says what it said writes nothing, nor does a first good word: a thousand instances that are
// well cost the store nothing.
func TestWhatAProbeWrites(t *testing.T) {
	for _, c := range []struct {
		name   string
		began  bool // failing
		words  []mesh.Health
		writes uint64
	}{
		{"a first passing word is none", false, []mesh.Health{mesh.Passing, mesh.Passing}, 0},
		{"a first passing word counts on an instance that began failing", true, []mesh.Health{mesh.Passing, mesh.Passing}, 1},
		{"a failing word counts once", false, []mesh.Health{mesh.Failing, mesh.Failing, mesh.Failing}, 1},
		{"every change counts", false, []mesh.Health{mesh.Failing, mesh.Passing, mesh.Passing, mesh.Degraded, mesh.Failing}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *running) {
				reg := web("a")
				reg.InitiallyFailing = c.began
				register(t, r, reg)
				first := revision(t, r)
				for _, h := range c.words {
					judge(t, r, h)
				}
				if got := revision(t, r).Number - first.Number; got != c.writes {
					t.Errorf("%d writes, want %d", got, c.writes)
				}
				wantHealth(t, r, "a", c.words[len(c.words)-1].String())
				advance(mesh.LeaseTTL - 1)
				judge(t, r, mesh.Passing)
				advance(1)
				wantHealth(t, r, "a", "failing") // a probe does not renew
			})
		})
	}
}

func TestWhoMayJudge(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		inst := register(t, r, web("a"))
		bad := mesh.Report{Health: mesh.Failing, Output: "503"}
		for _, role := range []identity.Role{identity.Anonymous, identity.Service} {
			if err := r.Judge(as(t, role, "10.0.0.9"), mesh.Ref{ID: "a"}, bad); !errors.Is(err, mesh.ErrForbidden) {
				t.Errorf("Judge as %s = %v, want ErrForbidden", role, err)
			}
		}
		ctx := identity.NewContext(t.Context(), insider(t))
		for _, c := range []struct {
			name string
			ref  mesh.Ref
			rep  mesh.Report
			want error
		}{
			{"an instance that is not there", mesh.Ref{ID: "b"}, bad, mesh.ErrNotFound},
			{"another incarnation", mesh.Ref{ID: "a", Incarnation: inst.Incarnation + 1}, bad, mesh.ErrStale},
			{"a health that the registry alone gives", mesh.Ref{ID: "a"}, mesh.Report{Health: mesh.Suspect}, mesh.ErrInvalid},
		} {
			if err := r.Judge(ctx, c.ref, c.rep); !errors.Is(err, c.want) {
				t.Errorf("Judge of %s = %v, want %v", c.name, err, c.want)
			}
		}
		first := revision(t, r)
		if err := r.Judge(ctx, mesh.Ref{ID: "a", Incarnation: inst.Incarnation}, bad); err != nil {
			t.Fatal(err)
		}
		if err := r.Judge(as(t, identity.Admin, ""), mesh.Ref{ID: "a"}, mesh.Report{}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range journalOf(t, r.store, first, 2) {
			got = append(got, e.Who+", "+e.What+", "+e.Why)
		}
		want := []string{"probe of node node-1, verdict, probed failing: 503", "probe of node node-1, verdict, probed passing"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("journal (-want +got):\n%s", d)
		}
	})
}

// A probe that reaches an instance whose session is lost does not put it back into rotation.
func TestAProbeIsNoSignOfLife(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		s := openSession(t, r, "a", 0)
		judge(t, r, mesh.Failing)
		s.Close(true)
		advance(time.Second)
		judge(t, r, mesh.Passing)
		wantHealth(t, r, "a", "failing")
		if inst, _ := r.Instance(t.Context(), "a"); inst.HealthBy != "session" {
			t.Errorf("it is failing by %q, want the session", inst.HealthBy)
		}
		openSession(t, r, "a", s.Instance().Incarnation)
		wantHealth(t, r, "a", "passing")
	})
}

func TestTheOutputOfAWordIsFitToBeShown(t *testing.T) {
	bubble(t, func(t *testing.T, r *running) {
		register(t, r, web("a"))
		for i, c := range []struct{ name, in, want string }{
			{"plain text stays", "no disk: äöü €", "no disk: äöü €"},
			{"lines become one", "one\r\ntwo\tthree\n", "one  two three"},
			{"what steers a terminal goes", "\x1b[2Jgone\x00\x07\u009b1m", " [2Jgone   1m"},
			{"what turns text around goes", "a\u202eb\u2066c\u2028d", "a b c d"},
			{"what is not UTF-8 is marked", "a\xff\xfeb", "a?b"},
			{"a long one is cut", strings.Repeat("x", 5000), strings.Repeat("x", 4096)},
			{"a long one is cut between characters", "x" + strings.Repeat("ä", 4096), "x" + strings.Repeat("ä", 2047)},
		} {
			h := []mesh.Health{mesh.Failing, mesh.Degraded}[i%2]
			if err := r.Report(service(t), mesh.Ref{ID: "a"}, mesh.Report{Health: h, Output: c.in}); err != nil {
				t.Fatal(err)
			}
			inst, err := r.Instance(t.Context(), "a")
			if err != nil || inst.HealthOutput != c.want || inst.Evidence[0].Output != c.want {
				t.Errorf("%s: %q, want %q", c.name, inst.HealthOutput, c.want)
			}
		}
	})
}
