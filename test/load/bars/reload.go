package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/gatewayapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/test/node"
)

// configured is a node with a configuration file that is rewritten while it runs.
type configured struct {
	*node.Node
	dir    string
	file   string
	routes *gatewayapi.Client
}

func (r *report) upConfigured(ctx context.Context) (*configured, error) {
	dir, err := r.newDir()
	if err != nil {
		return nil, err
	}
	c := &configured{dir: dir, file: filepath.Join(dir, "mesh.yaml")}
	if err := c.write(0); err != nil {
		return nil, err
	}
	c.Node, err = upAgain(ctx, r, dir, "--config", c.file)
	if err != nil {
		return nil, err
	}
	c.routes = gatewayapi.NewClient(c.Addresses["control"], c.AdminToken)
	return c, nil
}

func (c *configured) close() {
	c.routes.Close()
	c.Kill()
}

const (
	changingRoutes    = 50
	changingEndpoints = 20
)

// write replaces the file by its nth version: one route that never changes, and beside it routes and
// endpoints that are others each time.
func (c *configured) write(n int) error {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range changingEndpoints {
		fmt.Fprintf(&b, "  other-%d: {endpoints: [\"127.0.0.1:%d\"]}\n", i, 20000+(n*changingEndpoints+i)%40000)
	}
	b.WriteString("routes:\n  - name: kept\n    match: {path: {exact: /ws}}\n    to: {service: web}\n")
	for i := range changingRoutes {
		fmt.Fprintf(&b, "  - name: %s\n    match: {host: h%d.example, path: {prefix: /v%d}}\n    to: {service: other-%d}\n",
			changed(n, i), i, n, i%changingEndpoints)
	}
	// It is renamed into its place, so that half of it is never read.
	if err := os.WriteFile(c.file+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(c.file+".new", c.file)
}

// changed is the name of a route of the nth version.
func changed(n, i int) string { return fmt.Sprintf("changed-%d-%d", n, i) }

// reload puts the nth version in force, and returns when the node says that it is.
func (c *configured) reload(ctx context.Context, n int) error {
	if err := errors.Join(c.write(n), c.Signal(syscall.SIGHUP)); err != nil {
		return err
	}
	return until(ctx, 5*time.Second, func() error {
		routes, err := c.routes.Routes(ctx)
		if err != nil {
			return err
		}
		routes = slices.DeleteFunc(routes, func(s mesh.RouteStatus) bool { return s.Kind != mesh.RouteConfigured })
		inForce := func(name string) bool {
			return slices.ContainsFunc(routes, func(s mesh.RouteStatus) bool {
				return s.Name == name && s.State == mesh.RouteInForce
			})
		}
		if len(routes) != changingRoutes+1 || !inForce("kept") || !inForce(changed(n, 0)) || !inForce(changed(n, changingRoutes-1)) {
			return fmt.Errorf("version %d of the configuration is not in force: %d routes\n%s", n, len(routes), tail(c.Output()))
		}
		return nil
	})
}

func measureWebSocketRoutes(ctx context.Context, r *report) error {
	n, err := r.upConfigured(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	procs, err := three(ctx, r, n.Node, n.dir)
	defer func() { killAll(procs) }()
	if err != nil {
		return err
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	// Half of them by the service's own path, half by a route of the file.
	for i := range webSockets {
		c, err := upgrade(ctx, n.Addresses["gateway"], []string{"/api/web/ws", "/ws"}[i%2])
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	const changes = 100
	broken := map[int]error{}
	check := func(i int, when string) {
		if err := echoes(conns[i], fmt.Sprintf("still here %d %s", i, when)); err != nil && broken[i] == nil {
			broken[i] = err
			r.note("WebSocket %d broke %s: %v", i, when, err)
		}
	}
	applied := 0
	for k := range changes {
		if err := n.reload(ctx, k+1); err != nil {
			return err
		}
		applied++
		check(k%webSockets, fmt.Sprintf("after change %d", k+1))
	}
	for i := range conns {
		check(i, "at the end")
	}
	r.note("%d changes of mesh.yaml, each seen in force", applied)
	r.atMost(fmt.Sprintf("broken of %d WebSockets after %d unrelated route changes", webSockets, changes), float64(len(broken)), 0, "", "")
	return nil
}

const (
	reloads      = 1000
	reloadsFirst = 100 // after these the process has what it needs
	reloadRate   = 100
)

func measureReload(ctx context.Context, r *report) error {
	n, err := r.upConfigured(ctx)
	if err != nil {
		return err
	}
	defer n.close()
	procs, err := three(ctx, r, n.Node, n.dir)
	defer func() { killAll(procs) }()
	if err != nil {
		return err
	}
	shots, err := reloadMany(ctx, n, 1, reloadsFirst)
	if err != nil {
		return err
	}
	before, err := weigh(ctx, n.Node)
	if err != nil {
		return err
	}
	begin := time.Now()
	more, err := reloadMany(ctx, n, reloadsFirst+1, reloads)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := weigh(ctx, n.Node)
	if err != nil {
		return err
	}
	shots = append(shots, more...)
	failed, last := failures(shots)
	if last != nil {
		r.note("failed with: %v", last)
	}
	r.note("%d reloads of %d routes, each seen in force, %.1f ms each", reloads, changingRoutes+1, millis(took)/(reloads-reloadsFirst))
	r.note("after %d: heap %.2f MiB, %d goroutines; after %d: heap %.2f MiB, %d goroutines",
		reloadsFirst, before.heap, before.goroutines, reloads, after.heap, after.goroutines)
	r.atMost("heap that 900 reloads more hold, after a collection", after.heap-before.heap, 1, "MiB", "0")
	r.atMost("goroutines that 900 reloads more hold", float64(after.goroutines-before.goroutines), 0, "", "")
	r.atMost(fmt.Sprintf("failed of %d GETs meanwhile", len(shots)), float64(failed), 0, "", "")
	return nil
}

// reloadMany puts versions in force one after the other, under a light load.
func reloadMany(ctx context.Context, n *configured, from, to int) ([]shot, error) {
	l := startLoad(ctx, url(n.Node), reloadRate)
	for i := from; i <= to; i++ {
		if err := n.reload(ctx, i); err != nil {
			l.end()
			return nil, err
		}
	}
	return l.end(), nil
}

// weight is what a process holds.
type weight struct {
	heap       float64 // MiB
	goroutines int
}

// weigh takes the least of several looks: what is pooled goes with the second collection, and what is
// about to end has ended by the last.
func weigh(ctx context.Context, n *node.Node) (weight, error) {
	client := httpapi.NewClient(n.AdminToken)
	defer client.CloseIdleConnections()
	at := "http://" + n.Addresses["control"] + "/debug/pprof/"
	var least weight
	for i := range 10 {
		heap, err := figureIn(ctx, client, at+"heap?gc=1&debug=1", "# HeapAlloc = ")
		if err != nil {
			return least, err
		}
		goroutines, err := figureIn(ctx, client, at+"goroutine?debug=1", "goroutine profile: total ")
		if err != nil {
			return least, err
		}
		w := weight{heap: heap / (1 << 20), goroutines: int(goroutines)}
		if i == 0 {
			least = w
		}
		least = weight{min(least.heap, w.heap), min(least.goroutines, w.goroutines)}
		if err := rest(ctx, 200*time.Millisecond); err != nil {
			return least, err
		}
	}
	return least, nil
}

// figureIn returns the number behind a word in the text at a URL.
func figureIn(ctx context.Context, client *http.Client, url, word string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(b), word)
	var v float64
	if _, err := fmt.Sscan(rest, &v); err != nil || !found {
		return 0, fmt.Errorf("%s: %s, and no figure behind %q", url, resp.Status, word)
	}
	return v, nil
}
