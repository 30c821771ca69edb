//go:build unix

package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
)

func TestAConfigurationThatIsNoPlainFileIsRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	fifo, sparse, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "sparse"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(sparse)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(200 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, path, says string }{
		{"N-16 a directory", dir, "is a directory"},
		{"N-16 a pipe that nobody writes to", fifo, "is a pipe"},
		{"N-16 a link to one", link, "is a pipe"},
		{"N-16 a device without an end", "/dev/zero", "is a device"},
		{"N-16 a file of 200 MiB", sparse, "more than 4 MiB"},
	} {
		t.Run(row.name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				cfg := app.DefaultConfig()
				done <- cfg.UseFile(row.path, func(string) bool { return true })
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), row.path) {
					t.Errorf("error %v, want %q and the path", err, row.says)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it is still reading after 5 s")
			}
			data, _ := app.ReadConfigFile(row.path)
			if len(data) > 4<<20+1 {
				t.Errorf("%d bytes were read", len(data))
			}
		})
	}
}
