package pointer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/util/filelock"
)

// dialTimeout bounds the proof that a node still listens; it runs on this machine.
const dialTimeout = time.Second

// Publish leaves p where the same user's programs look for it, in place of what an earlier node on the
// same data directory left. The returned remove takes it away again, unless another node has replaced
// it since. A node whose pointer cannot be published works, but has to be named to each command.
func Publish(p Pointer) (remove func() error, err error) {
	abs, err := filepath.Abs(p.DataDir)
	if err != nil {
		return nil, fmt.Errorf("publish the node's pointer: %w", err)
	}
	dir, err := prepare(places())
	if err != nil {
		return nil, fmt.Errorf("publish the node's pointer: %w", err)
	}
	path := filepath.Join(dir, fileName(abs))
	if err := WriteFile(path, p); err != nil {
		return nil, err
	}
	return func() error { return removeOwn(path, p.PID) }, nil
}

// fileName is one per data directory, so that a restart replaces its own pointer and no other.
func fileName(dataDir string) string {
	sum := sha256.Sum256([]byte(dataDir))
	return hex.EncodeToString(sum[:8]) + ".json"
}

// prepare returns the first of dirs that is, or can be made, this user's own.
func prepare(dirs []string) (string, error) {
	if len(dirs) == 0 {
		return "", errors.New("no directory for it: neither XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME is set")
	}
	var errs []error
	for _, dir := range dirs {
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			err = private(dir)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func removeOwn(path string, pid int) error {
	p, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && p.PID != pid {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the node's pointer: %w", err)
	}
	return nil
}

// Living returns the pointers of this user's nodes that run now, ordered by data directory: those whose
// process lives, whose data directory is locked, and whose control address accepts connections. Files that another user could have
// written or read are passed over, as are damaged ones. The error is that of ctx.
func Living(ctx context.Context) ([]Pointer, error) {
	candidates := read(places())
	alive := make([]bool, len(candidates))
	var wg sync.WaitGroup
	for i, p := range candidates {
		wg.Go(func() { alive[i] = listens(ctx, p) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var living []Pointer
	for i, p := range candidates {
		if alive[i] {
			living = append(living, p)
		}
	}
	slices.SortFunc(living, func(a, b Pointer) int { return strings.Compare(a.DataDir, b.DataDir) })
	return living, nil
}

// read returns what the trustworthy files in dirs hold, one for each data directory and process.
func read(dirs []string) []Pointer {
	type key struct {
		dataDir string
		pid     int
	}
	seen := make(map[key]bool)
	var out []Pointer
	for _, dir := range dirs {
		if private(dir) != nil {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			continue
		}
		for _, path := range files {
			if private(path) != nil {
				continue
			}
			p, err := ReadFile(path)
			k := key{p.DataDir, p.PID}
			if err != nil || seen[k] {
				continue
			}
			seen[k] = true
			out = append(out, p)
		}
	}
	return out
}

func listens(ctx context.Context, p Pointer) bool {
	control := p.Addresses["control"]
	if p.PID <= 0 || control == "" || !processLives(p.PID) {
		return false
	}
	// A process id is used again, and so is a port: neither may be given this node's tokens.
	if held, err := filelock.Held(filepath.Join(p.DataDir, filelock.Name)); err != nil || !held {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", Reachable(control))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Reachable returns the address at which a program on the same machine reaches a listener: an
// unspecified host, which stands for all addresses, becomes the loopback address of its family.
func Reachable(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	switch host {
	case "", "0.0.0.0":
		return net.JoinHostPort("127.0.0.1", port)
	case "::":
		return net.JoinHostPort("::1", port)
	}
	return hostPort
}
