package pointer_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
)

func TestWriteFileWritesTheReadyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready.json")
	p := pointer.Pointer{PID: 7, Version: "1.0", DataDir: "/d", AdminToken: "a", ServiceToken: "s",
		Addresses: map[string]string{"gateway": "127.0.0.1:1", "control": "127.0.0.1:2", "discovery": "127.0.0.1:3"}}
	if err := pointer.WriteFile(path, p); err != nil {
		t.Fatalf("WriteFile: %v", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("the file is no JSON: %v", err)
	}
	want := map[string]any{"pid": 7.0, "version": "1.0", "dataDir": "/d", "adminToken": "a", "serviceToken": "s",
		"addresses": map[string]any{"gateway": "127.0.0.1:1", "control": "127.0.0.1:2", "discovery": "127.0.0.1:3"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	if back, err := pointer.ReadFile(path); err != nil || !cmp.Equal(back, p) {
		t.Errorf("ReadFile = %+v, %v", back, err)
	}
}

func TestLivingReturnsWhatWasPublishedAndListens(t *testing.T) {
	place(t)
	p := node(t, "a")
	remove, err := pointer.Publish(p)
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	expectLiving(t, p)

	closed := node(t, "b")
	closed.Addresses = map[string]string{"control": "127.0.0.1:1"}
	if _, err := pointer.Publish(closed); err != nil {
		t.Fatal(err)
	}
	dead := node(t, "c")
	dead.PID = deadPID(t)
	if _, err := pointer.Publish(dead); err != nil {
		t.Fatal(err)
	}
	expectLiving(t, p)

	if err := remove(); err != nil {
		t.Fatalf("remove: %v", err)
	}
	expectLiving(t)
	if err := remove(); err != nil {
		t.Errorf("second remove: %v", err)
	}
}

func TestLivingPassesOverAProcessThatIsNotTheNode(t *testing.T) {
	place(t)
	p := node(t, "a")
	// Its process id lives and something listens on its port, and yet the node is gone: no lock is held.
	p.DataDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(p.DataDir, filelock.Name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pointer.Publish(p); err != nil {
		t.Fatal(err)
	}
	expectLiving(t)
	gone := node(t, "b")
	gone.DataDir = filepath.Join(t.TempDir(), "removed")
	if _, err := pointer.Publish(gone); err != nil {
		t.Fatal(err)
	}
	expectLiving(t)
}

func TestPublishReplacesThePointerOfTheSameDataDirectory(t *testing.T) {
	place(t)
	old := node(t, "a")
	old.PID = deadPID(t)
	removeOld, err := pointer.Publish(old)
	if err != nil {
		t.Fatal(err)
	}
	p := node(t, "a")
	if _, err := pointer.Publish(p); err != nil {
		t.Fatal(err)
	}
	if err := removeOld(); err != nil {
		t.Errorf("remove of the replaced pointer: %v", err)
	}
	expectLiving(t, p)
}

func TestLivingOfNothing(t *testing.T) {
	place(t)
	expectLiving(t)
}

func TestReachable(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"an address stays", "10.0.0.1:5", "10.0.0.1:5"},
		{"all IPv4 addresses become loopback", "0.0.0.0:5", "127.0.0.1:5"},
		{"all addresses become loopback", "[::]:5", "[::1]:5"},
		{"no host becomes loopback", ":5", "127.0.0.1:5"},
		{"what is no address stays", "x", "x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := pointer.Reachable(tc.in); got != tc.want {
				t.Errorf("Reachable(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

// place gives the test directories of its own.
func place(t *testing.T) {
	t.Helper()
	runtimeDir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
	t.Setenv("XDG_STATE_HOME", filepath.Join(t.TempDir(), "state"))
	t.Setenv("LocalAppData", runtimeDir)
}

// node returns the pointer of a node that listens and holds its data directory.
func node(t *testing.T, name string) pointer.Pointer {
	t.Helper()
	dataDir := filepath.Join(os.Getenv("XDG_STATE_HOME"), "data", name)
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dataDir, filelock.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	// A second node on the directory in the same test finds the first one's lock, which will do.
	if err := filelock.Lock(lock); err != nil && !errors.Is(err, filelock.ErrLocked) {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return pointer.Pointer{PID: os.Getpid(), DataDir: dataDir, AdminToken: "a",
		Addresses: map[string]string{"control": l.Addr().String()}}
}

func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func expectLiving(t *testing.T, want ...pointer.Pointer) {
	t.Helper()
	got, err := pointer.Living(t.Context())
	if err != nil {
		t.Fatalf("Living: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Living (-want +got):\n%s", diff)
	}
}

func TestSurveyTellsTheLivingFromTheDeadAndTheSpoilt(t *testing.T) {
	place(t)
	living := node(t, "a")
	dead := node(t, "b")
	dead.PID = deadPID(t)
	spoilt := node(t, "c")
	for _, p := range []pointer.Pointer{living, dead, spoilt} {
		if _, err := pointer.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	before, err := pointer.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range before {
		if f.Pointer.DataDir == spoilt.DataDir {
			if err := os.WriteFile(f.Path, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := pointer.Survey(t.Context())
	if err != nil || len(got) != 3 {
		t.Fatalf("Survey = %+v, %v, want three files", got, err)
	}
	for _, f := range got {
		switch {
		case f.Problem != nil:
			if f.Living || f.Pointer.DataDir != "" {
				t.Errorf("a damaged file is %+v", f)
			}
		case f.Living != (f.Pointer.DataDir == living.DataDir):
			t.Errorf("living is %v for %s", f.Living, f.Pointer.DataDir)
		}
	}
}
