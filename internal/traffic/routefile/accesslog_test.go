package routefile_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
)

func TestWhatIsSaidOfTheAccessLogStandsOnTheDefaults(t *testing.T) {
	f := read(t, "access-log.yaml")
	want := accesslog.DefaultSettings()
	want.Fields = []string{"time", "status", "query", "header.accept-language"}
	want.Sample = 0.1
	want.RedactQuery = append(slices.Clone(want.RedactQuery), "sid")
	want.RedactFields = []string{"client", "header.accept-language"}
	if diff := cmp.Diff(routefile.AccessLog{File: routefile.AccessLogStdout, Settings: &want}, f.AccessLog); diff != "" {
		t.Errorf("access log (-want +got):\n%s", diff)
	}
	if !f.Set.Routes[0].Unlogged || f.Set.Routes[1].Unlogged {
		t.Errorf("routes %+v, want the first without lines", f.Set.Routes)
	}
}

// Whatever the file may say, the log takes: a file that is in force cannot fail there.
func TestEverySettingThatIsReadIsTaken(t *testing.T) {
	for _, s := range []string{
		"{}", "{format: common}", "{format: combined, sample: 0%, redact: {fields: [client, referer, reason]}}", "{file: off}",
		"{fields: [header.authorization, phases, trace_id]}", "{redact: {fields: [header.cookie]}}",
	} {
		f, problems := routefile.Parse("f", []byte("access_log: "+s))
		if len(problems) > 0 {
			t.Errorf("%s: %v", s, problems)
			continue
		}
		if err := accesslog.New(nil).Configure(*f.AccessLog.Settings); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
