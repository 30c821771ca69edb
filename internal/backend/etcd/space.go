package etcd

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// ballastName is the file in the engine's directory that is given up when the disk is nearly full.
const ballastName = "ballast"

// critical is the free space under which the engine itself might fail: two segments of its log.
const critical = 2 * segmentBytes

// space watches the disk on which the store lives, and its size. It has no state of its own: they have.
type space struct {
	dir     string
	minFree int64
	ballast int64
	quota   int64
	// size returns what the store takes of its quota; nil before it is open.
	size func() int64
}

func newSpace(cfg Config) *space {
	return &space{dir: cfg.Dir, minFree: cfg.MinFree, ballast: max(cfg.Ballast, 0), quota: cfg.Quota}
}

// softLimit is the size from which the store takes removals alone. What is left to the quota is for them:
// each carries a journal entry, and at the quota the engine would take nothing any more.
func (s *space) softLimit() int64 { return s.quota / 4 * 3 }

// guard refuses writes while the disk has too little space, and growth while the store is near its quota.
// A disk that cannot be asked is the engine's to judge.
func (s *space) guard(growth bool) error {
	if growth && s.size != nil && s.size() >= s.softLimit() {
		return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreFull,
			Detail: fmt.Sprintf("the store in %s has %d MiB, and from %d MiB on it takes removals alone (its quota is %d MiB); deregister what is not needed, and it makes room by itself",
				s.dir, s.size()>>20, s.softLimit()>>20, s.quota>>20)}
	}
	free, err := freeSpace(s.dir)
	if err != nil || free >= s.minFree {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeStoreFull,
		Detail: fmt.Sprintf("the disk of %s has %d MiB free, less than the %d MiB under which the store takes no writes, so that it stays intact; free some space",
			s.dir, free>>20, s.minFree>>20)}
}

// tend gives the ballast up when the disk is nearly full, and takes it again when there is space.
func (s *space) tend(log *slog.Logger) {
	free, err := freeSpace(s.dir)
	if err != nil || s.ballast == 0 {
		return
	}
	path := filepath.Join(s.dir, ballastName)
	info, err := os.Stat(path)
	have := err == nil && info.Size() == s.ballast
	switch {
	case have && free < min(critical, s.minFree):
		log.Warn("disk is nearly full: the store gives up its ballast", slog.String("dir", s.dir), slog.Int64("free", free))
		if err := os.Remove(path); err != nil {
			log.Error("the ballast could not be removed", slog.Any("error", err))
		}
	case !have && free > s.minFree+2*s.ballast+critical:
		if err := writeBallast(path, s.ballast); err != nil {
			log.Warn("the ballast could not be written", slog.Any("error", err))
		}
	}
}

// writeBallast fills a file with bytes that no file system can compress.
func writeBallast(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a second close after the checked one
	block := make([]byte, 64<<10)
	_, _ = rand.Read(block) // never fails
	for written := int64(0); written < size; {
		n, err := f.Write(block[:min(int64(len(block)), size-written)])
		if err != nil {
			return err
		}
		written += int64(n)
	}
	return f.Close()
}
