package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/etcd"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// openWith opens an engine with a quota.
func openWith(t *testing.T, dir string, quota int64) *etcd.Engine {
	t.Helper()
	e, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Quota: quota, Ballast: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeEngine(t, e) })
	return e
}

func put(key string, size int) registry.Txn {
	return registry.Txn{Journal: []byte("j"), Writes: []registry.Write{{Key: key, Data: bytes.Repeat([]byte("x"), size)}}}
}

// fill writes until the store refuses it, and returns what it wrote and why it was refused.
func fill(t *testing.T, s registry.Store) (map[string]mesh.Revision, error) {
	t.Helper()
	wrote := make(map[string]mesh.Revision)
	for i := range 200 {
		key := fmt.Sprintf("k%d", i)
		rev, err := s.Commit(t.Context(), put(key, 256<<10))
		if err != nil {
			return wrote, err
		}
		wrote[key] = rev
	}
	return wrote, nil
}

// eventually tries until fn succeeds.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %v", err)
		}
	}
}

func TestAStoreThatIsFullTakesRemovalsAndThenWritesAgain(t *testing.T) {
	const quota = 16 << 20
	e := openWith(t, filepath.Join(t.TempDir(), "store"), quota)
	s := e.Store()
	if err := e.Refusing(); err != nil {
		t.Errorf("Refusing = %v on an empty store", err)
	}
	wrote, err := fill(t, s)
	if mesh.CodeOf(err) != mesh.CodeStoreFull || !errors.Is(err, mesh.ErrUnavailable) || !strings.Contains(err.Error(), "deregister") {
		t.Fatalf("Commit = %v after %d writes, want %s and what to do", err, len(wrote), mesh.CodeStoreFull)
	}
	if r := e.Refusing(); mesh.CodeOf(r) != mesh.CodeStoreFull {
		t.Errorf("Refusing = %v, want %s", r, mesh.CodeStoreFull)
	}
	if e.Alarmed(t) {
		t.Error("the engine has raised its alarm: the soft limit is to come before it")
	}
	for key, rev := range wrote {
		if _, err := s.Commit(t.Context(), registry.Txn{Journal: []byte("j"), Writes: []registry.Write{{Key: key, If: rev.Number}}}); err != nil {
			t.Fatalf("a removal from a full store = %v", err)
		}
	}
	eventually(t, func() error {
		_, err := s.Commit(t.Context(), put("after", 256<<10))
		return errors.Join(err, e.Refusing())
	})
}

func TestHistoryAloneDoesNotFillTheStore(t *testing.T) {
	e := openWith(t, filepath.Join(t.TempDir(), "store"), 16<<20)
	s := e.Store()
	var number uint64
	for range 120 { // 30 MiB of which 256 KiB are current
		eventually(t, func() error {
			txn := put("k", 256<<10)
			txn.Writes[0].If = number
			rev, err := s.Commit(t.Context(), txn)
			if err == nil {
				number = rev.Number
			}
			return err
		})
	}
}

func TestAnEngineThatHasRaisedItsAlarmComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	e := openWith(t, dir, 64<<20)
	wrote := make(map[string]mesh.Revision)
	for i := range 16 {
		key := fmt.Sprintf("k%d", i)
		rev, err := e.Store().Commit(t.Context(), put(key, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		wrote[key] = rev
	}
	closeEngine(t, e)

	// The quota is now less than what is there.
	e = openWith(t, dir, 8<<20)
	e.RaiseAlarm(t)
	if _, err := e.Store().Commit(t.Context(), put("more", 1)); mesh.CodeOf(err) != mesh.CodeStoreFull {
		t.Errorf("Commit = %v, want %s", err, mesh.CodeStoreFull)
	}
	if _, err := e.Store().Commit(t.Context(), registry.Txn{Journal: []byte("j"),
		Writes: []registry.Write{{Key: "k0", If: wrote["k0"].Number}}}); err != nil {
		t.Errorf("a removal = %v, want it to go through without its journal entry", err)
	}
	if !e.Alarmed(t) {
		t.Fatal("the alarm is not raised, so this proves nothing")
	}
	closeEngine(t, e)

	e = openWith(t, dir, 64<<20)
	if e.Alarmed(t) {
		t.Error("the alarm is still raised, with room enough")
	}
	if _, err := e.Store().Commit(t.Context(), put("more", 1<<20)); err != nil {
		t.Errorf("Commit with room again = %v", err)
	}
}

func TestATransactionOverTheEnginesLimitIsTooLarge(t *testing.T) {
	s := openIn(t, filepath.Join(t.TempDir(), "store")).Store()
	_, err := s.Commit(t.Context(), put("k", 2<<20))
	if !errors.Is(err, mesh.ErrTooLarge) || mesh.CodeOf(err) != mesh.CodeTooLarge || errors.Is(err, mesh.ErrUnavailable) {
		t.Errorf("Commit of 2 MiB = %v, want ErrTooLarge", err)
	}
}

func TestADamagedEpochIsAClearError(t *testing.T) {
	dir, rev := filled(t)
	n := 0
	rewrite(t, filepath.Join(dir, "member", "snap", "db"), func(b []byte) []byte {
		digits := []byte(fmt.Sprint(rev.Epoch))
		for i := range b {
			if bytes.HasPrefix(b[i:], digits) {
				b[i+len(digits)-1] ^= 1 // another digit
				n++
			}
		}
		return b
	})
	if n == 0 {
		t.Fatal("the epoch is not in the file")
	}
	before := tree(t, dir)
	e, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Log: logTo(t), Ballast: -1, MinFree: -1})
	if err == nil {
		closeEngine(t, e)
	}
	if mesh.CodeOf(err) != mesh.CodeStoreDamaged || !strings.Contains(fmt.Sprint(err), "epoch") || !strings.Contains(fmt.Sprint(err), "backup") {
		t.Errorf("Open = %v, want %s that names the epoch and what to do", err, mesh.CodeStoreDamaged)
	}
	for line := range strings.Lines(before) {
		if path := strings.TrimSpace(line); !exists(path) {
			t.Errorf("%s was removed", path)
		}
	}
}

// counting is a log handler that keeps what it is told.
type counting struct {
	mu   sync.Mutex
	told []string
}

func (c *counting) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (c *counting) WithAttrs([]slog.Attr) slog.Handler           { return c }
func (c *counting) WithGroup(string) slog.Handler                { return c }

func (c *counting) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	c.told = append(c.told, text)
	return nil
}

func TestAStartThatIsMerelySlowIsNotWarnedOf(t *testing.T) {
	for _, c := range []struct {
		name, event string
		err         error
		started     bool
		told        bool
	}{
		{"a slow request at the start", "apply request took too long", nil, false, false},
		{"an election at the start", "failed to apply request", errors.New("etcdserver: leader changed"), false, false},
		{"another failure at the start", "failed to apply request", errors.New("disk"), false, true},
		{"a slow request later", "apply request took too long", nil, true, true},
		{"an election later", "failed to apply request", errors.New("etcdserver: leader changed"), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &counting{}
			etcd.Warn(slog.New(h), c.started, c.event, c.err)
			if told := len(h.told) > 0; told != c.told {
				t.Errorf("told = %q, want told = %v", h.told, c.told)
			}
		})
	}
}
