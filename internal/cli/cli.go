// Package cli is the toska command: what an operator types, and what is printed for it.
//
// # Concurrency
//
// Main runs one command and returns when it has ended.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/wire/discoveryapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/gatewayapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/healthapi"
	"github.com/toska-mesh/toska-mesh/internal/wire/nodeapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Env is the world that a command runs in.
type Env struct {
	// Args are the arguments without the program's name.
	Args []string
	// Stdin, Stdout and Stderr are the standard streams. Where they are terminals, output is for people.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv reads the environment; empty is unset.
	Getenv func(key string) string
	// Living lists the nodes of this user.
	Living func(ctx context.Context) ([]pointer.Pointer, error)
	// Connect returns a client of the node whose control port is at control.
	Connect func(control, token string) Client
	// Machine is what toska doctor looks at.
	Machine Machine
	// Exit ends the process at once.
	Exit func(code int)
}

// Client is what commands need of a node.
type Client interface {
	mesh.Discovery
	mesh.Node
	mesh.Routing
	// Close lets go of the connection.
	Close()
}

// Process returns the Env of this process.
func Process() Env {
	return Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Living: pointer.Living, Connect: connect, Machine: thisMachine{}, Exit: os.Exit,
	}
}

// Main runs the command that env.Args say and returns the exit code.
func Main(ctx context.Context, env Env) int {
	root := newRoot(&env)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return codeOK
	}
	if status, ok := errors.AsType[*childStatus](err); ok {
		return status.code
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = usage(cmd, err)
	}
	f.print(env.Stderr)
	return f.code
}

// remote is the clients of one node.
type remote struct {
	*discoveryapi.Client
	node    *nodeapi.Client
	gateway *gatewayapi.Client
	health  *healthapi.Client
}

func connect(control, token string) Client {
	return remote{discoveryapi.NewClient(control, token), nodeapi.NewClient(control, token), gatewayapi.NewClient(control, token),
		healthapi.NewClient(control, token)}
}

// Status implements mesh.Node.
func (r remote) Status(ctx context.Context) (mesh.Status, error) { return r.node.Status(ctx) }

// Routes implements mesh.Routing.
func (r remote) Routes(ctx context.Context) ([]mesh.RouteStatus, error) { return r.gateway.Routes(ctx) }

// Upstreams implements mesh.Routing.
func (r remote) Upstreams(ctx context.Context, service string) ([]mesh.UpstreamStatus, error) {
	return r.gateway.Upstreams(ctx, service)
}

// Probes implements Prober.
func (r remote) Probes(ctx context.Context, service string) ([]mesh.ProbeStatus, error) {
	return r.health.Probes(ctx, service)
}

// Close implements Client.
func (r remote) Close() {
	r.Client.Close()
	r.node.Close()
	r.gateway.Close()
	r.health.Close()
}

// isTerminal reports whether the stream is shown to a person.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// say prints for people and programs alike; a reader that has gone away is not an error of ours.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}
