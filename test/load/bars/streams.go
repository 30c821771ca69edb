package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// streamBytes is the long body.
	streamBytes = 1_000_000_000
	// slowStreams is how many clients read, and how many send, a kilobyte now and then meanwhile.
	slowStreams = 100
)

// measureStreams carries a body of 1 GB each way while slow clients read and send, and watches the memory
// of the node.
func measureStreams(ctx context.Context, r *report) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	endpoint, stop, err := streamEndpoint(ctx)
	if err != nil {
		return err
	}
	defer stop()
	dir, err := r.newDir()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "mesh.yaml")
	text := fmt.Sprintf("services:\n  streams: {endpoints: [%q]}\nroutes:\n  - {name: streams, to: {service: streams}}\n", endpoint)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	n, err := upAgain(ctx, r, dir, "--config", file)
	if err != nil {
		return err
	}
	defer n.Kill()
	gateway := n.Addresses["gateway"]
	if err := until(ctx, 5*time.Second, func() error { _, err := get(ctx, newClient(), "http://"+gateway+"/ping"); return err }); err != nil {
		return err
	}
	before, err := residentMiB(n.ProcessID())
	if err != nil {
		return err
	}
	peak, watch := before, sync.WaitGroup{}
	watching, unwatch := context.WithCancel(ctx)
	watch.Go(func() {
		for rest(watching, 100*time.Millisecond) == nil {
			if rss, err := residentMiB(n.ProcessID()); err == nil {
				peak = max(peak, rss)
			}
		}
	})
	var slow sync.WaitGroup
	broken := make(chan error, 2*slowStreams)
	for i := range 2 * slowStreams {
		slow.Go(func() { broken <- slowStream(watching, gateway, i%2 == 0) })
	}
	start := time.Now()
	err = longStreams(ctx, gateway)
	took := time.Since(start)
	unwatch()
	watch.Wait()
	cancel()
	slow.Wait()
	close(broken)
	for slowErr := range broken {
		err = errors.Join(err, slowErr)
	}
	if err != nil {
		return err
	}
	r.note("1 GB each way beside %d slow clients in %.1f s", 2*slowStreams, took.Seconds())
	r.atMost("memory that streams add to the node", peak-before, 64, "MiB", "32")
	return nil
}

// streamEndpoint serves a body of 1 GB to a GET, and tells the length of whatever else it is sent.
func streamEndpoint(ctx context.Context) (addr string, stop func(), err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/ping":
		case req.Method == http.MethodGet:
			w.Header().Set("Content-Length", fmt.Sprint(streamBytes))
			_, _ = io.Copy(w, io.LimitReader(zeros{}, streamBytes))
		default:
			n, _ := io.Copy(io.Discard, req.Body)
			_, _ = fmt.Fprint(w, n)
		}
	})}
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(ln) })
	return ln.Addr().String(), func() { _ = srv.Close(); done.Wait() }, nil
}

// zeros is a body without an end.
type zeros struct{}

// Read fills p.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// longStreams sends 1 GB and reads 1 GB at the same time.
func longStreams(ctx context.Context, gateway string) error {
	var both sync.WaitGroup
	var up, down error
	both.Go(func() { up = longUpload(ctx, gateway) })
	both.Go(func() { down = longDownload(ctx, gateway) })
	both.Wait()
	return errors.Join(up, down)
}

func longUpload(ctx context.Context, gateway string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+gateway+"/up", io.NopCloser(io.LimitReader(zeros{}, streamBytes)))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && string(b) != fmt.Sprint(streamBytes) {
		err = fmt.Errorf("%s: the endpoint read %.80q", resp.Status, b)
	}
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	return nil
}

func longDownload(ctx context.Context, gateway string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gateway+"/down", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && n != streamBytes {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return fmt.Errorf("download: read %d: %w", n, err)
	}
	return nil
}

// slowStream reads an answer of 1 GB, or sends a body of 1 GB, a kilobyte at a time, until ctx ends. A
// connection that breaks before is an error.
func slowStream(ctx context.Context, gateway string, sends bool) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", gateway)
	if err != nil {
		return fmt.Errorf("slow stream: %w", err)
	}
	defer func() { _ = c.Close() }()
	head := "GET /slow HTTP/1.1\r\nHost: bars\r\n\r\n"
	if sends {
		head = fmt.Sprintf("POST /slow HTTP/1.1\r\nHost: bars\r\nContent-Length: %d\r\n\r\n", streamBytes)
	}
	_, err = io.WriteString(c, head)
	br, piece := bufio.NewReader(c), make([]byte, 1<<10)
	for err == nil {
		if rest(ctx, 100*time.Millisecond) != nil {
			return nil
		}
		if sends {
			_, err = c.Write(piece)
		} else {
			_, err = io.ReadFull(br, piece)
		}
	}
	return fmt.Errorf("slow stream broke, sending %v: %w", sends, err)
}
