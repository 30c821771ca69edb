package registry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// heardOf is what the rule says of one instance: a lost session is a soft word unless the instance is
// failing anyhow; otherwise the worse of report and probe counts, and before both what it began with.
type heardOf struct {
	began         mesh.Health
	report, probe *mesh.Health
	lost, soft    bool
}

func (m *heardOf) joined() mesh.Health {
	switch {
	case m.report == nil && m.probe == nil:
		return m.began
	case m.report == nil:
		return *m.probe
	case m.probe == nil:
		return *m.report
	}
	return max(*m.report, *m.probe)
}

func (m *heardOf) verdict() mesh.Health {
	if m.soft {
		return mesh.Failing
	}
	return m.joined()
}

// hear keeps a word, and reports whether it was one: see Registry.Judge.
func (m *heardOf) hear(word **mesh.Health, h mesh.Health) bool {
	if *word == nil && h == mesh.Passing && m.began == mesh.Passing || *word != nil && **word == h {
		return false
	}
	*word = &h
	return true
}

// settle is what the timers do within a second.
func (m *heardOf) settle() bool {
	if !m.lost || m.soft || m.joined() == mesh.Failing {
		return false
	}
	m.soft = true
	return true
}

// step is something that happens to an instance.
type step struct {
	do     string
	health mesh.Health
}

func TestAnySequenceOfWordsGivesTheVerdictOfTheRule(t *testing.T) {
	steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{rapid.SampledFrom([]string{"report", "probe", "lose", "resume"}).Draw(rt, "do"),
			rapid.SampledFrom([]mesh.Health{mesh.Passing, mesh.Degraded, mesh.Failing}).Draw(rt, "health")}
	}), 1, 20)
	rapid.Check(t, func(rt *rapid.T) {
		began, all := rapid.Bool().Draw(rt, "began failing"), steps.Draw(rt, "steps")
		var wrong string
		bubble(t, func(t *testing.T, r *running) {
			t.Helper()
			wrong = play(t, r, began, all)
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// play takes the steps, and returns where the registry and the rule part.
func play(t *testing.T, r *running, beganFailing bool, steps []step) string {
	t.Helper()
	m := &heardOf{began: mesh.Passing}
	reg := web("a")
	if beganFailing {
		reg.InitiallyFailing, m.began = true, mesh.Failing
	}
	s, err := r.Open(service(t), reg, 0)
	if err != nil {
		return err.Error()
	}
	now := &since{}
	for _, st := range steps {
		began := time.Now()
		first, wrote := revision(t, r).Number, false
		switch st.do {
		case "report":
			wrote = m.hear(&m.report, st.health) || m.soft
			if m.soft && m.report == nil {
				m.report = &st.health
			}
			m.soft = false
			report(t, r, st.health)
		case "probe":
			wrote = m.hear(&m.probe, st.health)
			judge(t, r, st.health)
		case "lose":
			m.lost = true
			s.Close(true)
		case "resume":
			wrote, m.lost, m.soft = m.soft, false, false
			if s, err = r.Open(service(t), reg, s.Instance().Incarnation); err != nil {
				return err.Error()
			}
		}
		if wrong := now.look(t, r, began); wrong != "" {
			return wrong
		}
		advance(time.Second)
		wrote = m.settle() || wrote
		if wrong := now.look(t, r, began); wrong != "" {
			return wrong
		}
		inst, err := r.Instance(t.Context(), "a")
		if err != nil {
			return err.Error()
		}
		if inst.Health != m.verdict() {
			return fmt.Sprintf("it is %s by %q, want %s: %+v", inst.Health, inst.HealthBy, m.verdict(), inst.Evidence)
		}
		if got := revision(t, r).Number > first; got != wrote {
			return fmt.Sprintf("after %s %s: written is %v, want %v: %+v", st.do, st.health, got, wrote, inst.Evidence)
		}
		if wrong := m.compare(&inst); wrong != "" {
			return wrong
		}
	}
	return ""
}

// since is the health that was seen last, and when it began.
type since struct {
	health mesh.Health
	at     time.Time
}

// look returns what is wrong with the time of the verdict: it is a new one for a new health alone.
func (s *since) look(t *testing.T, r *running, began time.Time) string {
	t.Helper()
	inst, err := r.Instance(t.Context(), "a")
	if err != nil {
		return err.Error()
	}
	last := *s
	s.health, s.at = inst.Health, inst.HealthAt
	switch {
	case inst.HealthBy == "" && last.at.IsZero() && inst.HealthAt.IsZero():
		return ""
	case inst.Health == last.health && !last.at.IsZero():
		if !inst.HealthAt.Equal(last.at) {
			return fmt.Sprintf("it is %s since %s, want since %s: %+v", inst.Health, inst.HealthAt, last.at, inst.Evidence)
		}
	case inst.HealthAt.Before(began.UTC()) || inst.HealthAt.After(time.Now()):
		return fmt.Sprintf("it has become %s at %s, want after %s: %+v", inst.Health, inst.HealthAt, began, inst.Evidence)
	}
	return ""
}

// compare returns how the evidence differs from the words, and the verdict from the evidence.
func (m *heardOf) compare(inst *mesh.Instance) string {
	var want, got []string
	if m.probe != nil {
		want = append(want, "probe "+m.probe.String())
	}
	if m.report != nil {
		want = append(want, "report "+m.report.String())
	}
	if m.soft {
		want = append(want, "session failing")
	}
	decided := inst.HealthBy == "" && m.probe == nil && m.report == nil && !m.soft
	for _, e := range inst.Evidence {
		got = append(got, e.Source+" "+e.Health.String())
		decided = decided || e.Source == inst.HealthBy && e.Health == inst.Health && e.Output == inst.HealthOutput
	}
	if d := cmp.Diff(want, got); d != "" {
		return "evidence (-want +got):\n" + d
	}
	if !decided {
		return fmt.Sprintf("the verdict %s by %q is nobody's word: %+v", inst.Health, inst.HealthBy, inst.Evidence)
	}
	return ""
}
