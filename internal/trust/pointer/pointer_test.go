package pointer_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
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
	p := node(t, "/data/a")
	remove, err := pointer.Publish(p)
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	expectLiving(t, p)

	closed := node(t, "/data/b")
	closed.Addresses = map[string]string{"control": "127.0.0.1:1"}
	if _, err := pointer.Publish(closed); err != nil {
		t.Fatal(err)
	}
	dead := node(t, "/data/c")
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

func TestPublishReplacesThePointerOfTheSameDataDirectory(t *testing.T) {
	place(t)
	old := node(t, "/data/a")
	old.PID = deadPID(t)
	removeOld, err := pointer.Publish(old)
	if err != nil {
		t.Fatal(err)
	}
	p := node(t, "/data/a")
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

// node returns the pointer of a node that listens.
func node(t *testing.T, dataDir string) pointer.Pointer {
	t.Helper()
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
