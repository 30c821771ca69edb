package cli_test

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/cli"
)

func TestABinaryKnowsWhatItWasBuiltFrom(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "true"}}
	for _, tc := range []struct {
		name            string
		module          string
		settings        []debug.BuildSetting
		version, commit string
		want            cli.Build
	}{
		{"a release", "(devel)", nil, "1.2.3", commit, cli.Build{Version: "1.2.3", Commit: commit}},
		{"a release wins over a changed checkout", "v0.9.0", vcs, "1.2.3", "c0ffee", cli.Build{Version: "1.2.3", Commit: "c0ffee"}},
		{"a changed checkout", "v0.0.0-20260102030405-0123456789ab+dirty", vcs, "", "",
			cli.Build{Version: "dev-0123456789ab+dirty", Commit: commit, Modified: true}},
		{"go install of a commit", "v0.2.1-0.20260102030405-0123456789ab", nil, "", "", cli.Build{Version: "dev-0123456789ab", Commit: "0123456789ab"}},
		{"go install of a version", "v0.2.0", nil, "", "", cli.Build{Version: "v0.2.0", Commit: "unknown"}},
		{"no checkout at all", "(devel)", nil, "", "", cli.Build{Version: "dev", Commit: "unknown"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Go, tc.want.OS, tc.want.Arch = runtime.Version(), runtime.GOOS, runtime.GOARCH
			info := &debug.BuildInfo{Main: debug.Module{Version: tc.module}, Settings: tc.settings}
			if diff := cmp.Diff(tc.want, cli.BuildFrom(info, tc.version, tc.commit)); diff != "" {
				t.Errorf("buildFrom (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVersionPrintsJSON(t *testing.T) {
	w := newWorld()
	w.expect(t, w.run(t.Context(), "version", "--json"), 0)
	var got map[string]any
	if err := json.Unmarshal([]byte(w.stdout.String()), &got); err != nil || got["go"] != runtime.Version() || got["commit"] == "" {
		t.Errorf("version --json = %s, %v", w.stdout.String(), err)
	}
}
