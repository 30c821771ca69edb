//go:build unix && !linux

package file_test

import (
	"os"
	"testing"
)

// asUser runs f as one whom permissions bind.
func asUser(t *testing.T, _ string, f func()) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Fatal("this test is about permissions, which do not bind root: run it as another user")
	}
	f()
}
