//go:build unix

package cli_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// These tests are not parallel: signals to this process reach every toska run in it.

func TestRunRegistersAProgramAndLeavesWithIt(t *testing.T) {
	w, result := runServer(t, "--metadata", "weight=2", "--check", "/healthz", "--drain", "1ms")
	await(t, func() bool { return strings.Contains(w.stderr.String(), "behind the gateway") })
	if diff := cmp.Diff([]string{"127.0.0.1:5010 a-service"}, w.dialed); diff != "" {
		t.Errorf("dialed (-want +got):\n%s", diff)
	}
	r := w.client.registered[0]
	if r.Service != "web" || r.Port == 0 || r.Lifetime != mesh.Held || r.Metadata["weight"] != "2" || r.Check == nil || r.Check.HTTP != "/healthz" {
		t.Errorf("registered %+v", r)
	}
	interrupt(t, syscall.SIGTERM)
	if code := <-result; code != 128+15 {
		t.Errorf("exit code = %d, want that of a program that SIGTERM ended", code)
	}
	want := []mesh.Ref{{ID: r.ID, Incarnation: 1}}
	if !cmp.Equal(w.client.drained, want) || !cmp.Equal(w.client.removed, want) {
		t.Errorf("drained %v and removed %v, want %v", w.client.drained, w.client.removed, want)
	}
	w.expect(t, 0, 0, "http://127.0.0.1:5000/api/web/")
}

func TestRunStopsAProgramWhoseIDWasTaken(t *testing.T) {
	w, result := runServer(t, "--id", "web-1")
	await(t, func() bool { return strings.Contains(w.stderr.String(), "behind the gateway") })
	s := w.client.sessions[0]
	s.err = mesh.ErrStale
	close(s.done)
	w.expect(t, <-result, 8, "another program has taken the id", "--id")
}

func TestRunGoesOnWithAProgramThatWasDeregistered(t *testing.T) {
	w, result := runServer(t, "--id", "web-1", "--drain", "1ms")
	await(t, func() bool { return strings.Contains(w.stderr.String(), "behind the gateway") })
	s := w.client.sessions[0]
	s.err = mesh.ErrNotFound
	close(s.done)
	await(t, func() bool { return strings.Contains(w.stderr.String(), "out of the mesh") })
	interrupt(t, syscall.SIGTERM)
	w.expect(t, <-result, 128+15, "web-1 was deregistered", "goes on")
	if strings.Contains(w.stderr.String(), "could not be") {
		t.Errorf("it complains that it cannot leave a mesh that it is out of:\n%s", w.stderr.String())
	}
	if len(w.client.registered) != 1 || len(w.client.removed) != 0 {
		t.Errorf("registered %d times and removed %v, want once and nothing", len(w.client.registered), w.client.removed)
	}
}

func TestRunStopsAProgramThatIsRefused(t *testing.T) {
	w := newWorld()
	w.client.err = mesh.ErrForbidden
	result := serve(t, w)
	w.expect(t, <-result, 5, "to do: ")
}

func TestRunStartsBeforeTheMesh(t *testing.T) {
	w := newWorld()
	w.living = nil
	result := serve(t, w)
	await(t, func() bool { return strings.Contains(w.stderr.String(), "cannot reach the mesh") })
	interrupt(t, syscall.SIGINT)
	w.expect(t, <-result, 128+2, "no node runs yet")
}

func TestRunEndsWithItsProgram(t *testing.T) {
	for _, tc := range []struct {
		name   string
		script string
		code   int
		says   string
	}{
		{"that succeeds", "exit 0", 0, ""},
		{"that fails", "exit 41", 41, "ended with status 41 before"},
		{"that a signal ends", "kill -KILL $$", 137, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.expect(t, w.run(t.Context(), "run", "--name", "web", "--port", "0", "--", "sh", "-c", tc.script), tc.code, tc.says)
		})
	}
}

func TestRunGivesUpOnAProgramThatDoesNotAnswer(t *testing.T) {
	w := newWorld()
	code := w.run(t.Context(), "run", "--name", "web", "--port", "0", "--start-timeout", "100ms", "--check", "/x", "--", "sleep", "600")
	w.expect(t, code, 7, "within 100ms", "/x", "--start-timeout")
}

func TestRunHandsSignalsOn(t *testing.T) {
	w := newWorld()
	result := make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := t.TempDir() + "/ready"
	go func() {
		result <- w.run(ctx, "run", "--name", "web", "--port", "0", "--", "sh", "-c", "trap 'exit 4' USR1; touch "+ready+"; while :; do sleep 0.02; done")
	}()
	await(t, func() bool { _, err := os.Stat(ready); return err == nil })
	interrupt(t, syscall.SIGUSR1)
	w.expect(t, <-result, 4)
}

func TestRunKillsItsProgramWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld()
	result := serveIn(ctx, t, w)
	await(t, func() bool { return strings.Contains(w.stderr.String(), "behind the gateway") })
	cancel()
	w.expect(t, <-result, 1)
}

func TestRunAsksWhichOfSeveralNodes(t *testing.T) {
	w := newWorld()
	w.living = append(w.living, node("b", 6010))
	w.expect(t, w.run(t.Context(), "run", "--name", "web", "--port", "0", "--", "true"), 3, "2 nodes")
}

func TestRunOfAProgramThatIsNotThere(t *testing.T) {
	w := newWorld()
	w.expect(t, w.run(t.Context(), "run", "--name", "web", "--port", "0", "--", "no-such-program"), 127, "no-such-program")
}

func TestRunAtANamedNodeAsksForItsGateway(t *testing.T) {
	w := newWorld()
	w.client.status.Addresses = map[string]string{"gateway": "[::]:80"}
	result := serve(t, w, "--control", "10.9.9.9:5010")
	await(t, func() bool { return strings.Contains(w.stderr.String(), "http://10.9.9.9:80/api/web/") })
	interrupt(t, syscall.SIGTERM)
	w.expect(t, <-result, 128+15)
}

// runServer runs this binary as a program that serves.
func runServer(t *testing.T, flags ...string) (*world, <-chan int) {
	t.Helper()
	w := newWorld()
	return w, serve(t, w, flags...)
}

func serve(t *testing.T, w *world, flags ...string) <-chan int {
	t.Helper()
	return serveIn(t.Context(), t, w, flags...)
}

func serveIn(ctx context.Context, t *testing.T, w *world, flags ...string) <-chan int {
	t.Helper()
	t.Setenv("CLI_TEST_SERVE", "1")
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan int, 1)
	done := make(chan struct{})
	args := append([]string{"run", "--name", "web", "--port", "0"}, flags...)
	go func() {
		defer close(done)
		result <- w.run(ctx, append(args, "--", os.Args[0])...)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return result
}

func interrupt(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}
