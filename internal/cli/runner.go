package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/cli/child"
	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
)

const (
	// leaveTimeout bounds each word of farewell to the mesh; the program must not wait for it.
	leaveTimeout = 3 * time.Second
	// stopTimeout is how long a program that has to go may take after SIGTERM.
	stopTimeout = 10 * time.Second

	defaultGateway = "127.0.0.1:5000"
	defaultControl = "127.0.0.1:5010"
)

// runner is one toska run.
type runner struct {
	env    *Env
	flags  runFlags
	argv   []string
	mesh   *follower
	log    *slog.Logger
	port   port
	keeper *toska.Keeper // nil until the port answers
	out    atomic.Bool   // the keeper has ended because somebody deregistered the instance
	child  *child.Process
	wg     sync.WaitGroup

	exited  chan exit     // the program has ended
	answers chan error    // the port answers, or never did
	kept    chan error    // the keeper has ended
	left    chan struct{} // the mesh knows that the program goes
	leave   func()        // called once, however often
}

// exit is how the program ended.
type exit struct {
	status int
	err    error
}

func newRunner(env *Env, f *finder, flags runFlags, argv []string) (*runner, error) {
	tie, err := newFollower(f)
	if err != nil {
		return nil, err
	}
	return &runner{
		env: env, flags: flags, argv: argv, mesh: tie, log: slog.New(speech{w: env.Stderr}),
		exited: make(chan exit, 1), answers: make(chan error, 1), kept: make(chan error, 1), left: make(chan struct{}),
	}, nil
}

func (r *runner) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { _ = r.mesh.Close() }() // nil
	defer r.wg.Wait()
	defer cancel()
	t, err := r.mesh.locate(ctx)
	if err != nil && !isNoNode(err) {
		return err
	}
	if err != nil {
		say(r.env.Stderr, "toska: no node runs yet; the program starts all the same and joins as soon as there is one")
	}
	if err := r.preparePort(ctx); err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	if err := r.start(ctx, t); err != nil {
		say(r.env.Stderr, "toska: %v", err)
		return &childStatus{child.StartStatus(err)}
	}
	return r.attend(ctx, signals)
}

// isNoNode reports whether err says that no node was found, rather than too many.
func isNoNode(err error) bool {
	return errors.Is(err, errNoNode)
}

func (r *runner) preparePort(ctx context.Context) error {
	r.port = port{host: r.flags.registration.Address, num: r.flags.registration.Port, check: r.flags.check}
	if r.port.host == "" {
		r.port.host = "127.0.0.1"
	}
	if r.port.num != 0 {
		return r.port.taken(ctx)
	}
	n, err := freePort(ctx, r.port.host)
	r.port.num, r.flags.registration.Port = n, n
	return err
}

// start starts the program, and what waits for its end and for its port.
func (r *runner) start(ctx context.Context, t target) error {
	watchdog, err := watchdogArgv()
	if err != nil {
		return err
	}
	stdin, closeStdin, err := r.stdin()
	if err != nil {
		return err
	}
	out, _ := r.env.Stdout.(*os.File)
	errs, _ := r.env.Stderr.(*os.File)
	r.child, err = child.Start(child.Config{Argv: r.argv, Env: r.childEnv(ctx, t), Stdin: stdin, Stdout: out, Stderr: errs, Watchdog: watchdog})
	if err != nil {
		closeStdin()
		return err
	}
	r.wg.Go(func() {
		status, err := r.child.Wait()
		closeStdin()
		r.exited <- exit{status, err}
	})
	r.wg.Go(func() { r.answers <- r.awaitPort(ctx) })
	return nil
}

// stdin returns what the program reads from. A terminal is kept from it: the program is not in the
// terminal's foreground, where reading would stop it. It gets a pipe that stays silent, for programs
// that end with their input.
func (r *runner) stdin() (f *os.File, release func(), err error) {
	f, ok := r.env.Stdin.(*os.File)
	if !ok || !isTerminal(f) {
		return f, func() {}, nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("open a pipe for the program's input: %w", err)
	}
	return read, func() { _, _ = read.Close(), write.Close() }, nil
}

func (r *runner) childEnv(ctx context.Context, t target) []string {
	gateway, control := defaultGateway, defaultControl
	if t.control != "" {
		control = t.control
		ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
		defer cancel()
		if g := r.mesh.gateway(ctx); g != "" {
			gateway = g
		}
	}
	return append(os.Environ(), "PORT="+strconv.Itoa(r.port.num), "TOSKA_GATEWAY=http://"+gateway, "TOSKA_CONTROL="+control)
}

// awaitPort waits for the program's port, with progress for whoever watches.
func (r *runner) awaitPort(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, r.flags.startTimeout)
	defer cancel()
	result := make(chan error, 1)
	r.wg.Go(func() { result <- r.port.await(wait) })
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for seconds := 0; ; {
		select {
		case err := <-result:
			if err != nil && ctx.Err() == nil {
				return r.port.unanswered(ctx, r.flags.startTimeout, err)
			}
			return err
		case <-tick.C:
			seconds++
			if isTerminal(r.env.Stderr) || seconds%10 == 0 {
				say(r.env.Stderr, "toska: waiting for %s, %ds of %v", r.port.what(), seconds, r.flags.startTimeout)
			}
		}
	}
}

// attend looks after the program until it has ended.
func (r *runner) attend(ctx context.Context, signals <-chan os.Signal) error {
	r.leave = sync.OnceFunc(func() { r.wg.Go(func() { r.depart(ctx); close(r.left) }) })
	var reason error      // why the program was made to go; its own status otherwise
	var goodbye os.Signal // handed on once the mesh knows
	left := r.left
	for {
		select {
		case e := <-r.exited:
			r.leave()
			<-r.left
			return r.result(e, reason)
		case err := <-r.answers:
			if err != nil {
				reason = err
				r.leave()
				_ = r.child.Kill()
			} else if goodbye == nil {
				r.join(ctx)
			}
		case err := <-r.kept:
			switch {
			case errors.Is(err, mesh.ErrNotFound):
				r.out.Store(true)
				say(r.env.Stderr, "toska: %s was deregistered, so the program is out of the mesh and gets no traffic from it; "+
					"it goes on, and joins again when toska run is started anew", r.keeper.ID())
			case err != nil:
				reason = err
				say(r.env.Stderr, "toska: the mesh does not take the program, so it is stopped")
				r.stop(ctx)
			}
		case s := <-signals:
			switch {
			case !stops(s):
				r.signal(s)
			case goodbye == nil:
				goodbye = s
				r.leave()
			default: // impatient
				r.signal(s)
			}
		case <-left:
			left = nil
			if goodbye != nil {
				r.signal(goodbye)
			}
		case <-ctx.Done():
			reason = ctx.Err()
			_ = r.child.Kill()
			e := <-r.exited
			return r.result(e, reason)
		}
	}
}

// join registers the program and keeps it registered.
func (r *runner) join(ctx context.Context) {
	reg := r.flags.registration
	r.keeper = toska.NewKeeper(r.mesh, reg, r.log)
	r.wg.Go(func() { r.kept <- r.keeper.Run(ctx) })
	r.wg.Go(func() {
		select {
		case <-r.keeper.Registered():
			if g := r.mesh.gateway(ctx); g != "" {
				say(r.env.Stderr, "toska: %s is behind the gateway, by default at http://%s/api/%s/", reg.Service, g, reg.Service)
			}
		case <-ctx.Done():
		case <-r.left:
		}
	})
}

// depart takes the program out of rotation, gives what is in flight its time, and deregisters it.
func (r *runner) depart(ctx context.Context) {
	k := r.keeper
	if k == nil || r.out.Load() {
		return
	}
	if _, registered := k.Instance(); registered && r.flags.drain > 0 {
		bounded, cancel := context.WithTimeout(ctx, leaveTimeout)
		if err := k.Drain(bounded); err != nil {
			r.log.Warn("instance could not be drained", "error", err)
		} else {
			r.pause(ctx)
		}
		cancel()
	}
	bounded, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	if err := k.Deregister(bounded); err != nil {
		r.log.Warn("instance could not be deregistered; it goes when its lease lapses", "error", err)
	}
}

func (r *runner) pause(ctx context.Context) {
	timer := time.NewTimer(r.flags.drain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *runner) signal(s os.Signal) {
	if err := r.child.Signal(s); err != nil {
		r.log.Warn("signal could not be handed on", "error", err)
	}
}

// stop ends a program that has no place in the mesh: in order first, then at once.
func (r *runner) stop(ctx context.Context) {
	r.signal(syscall.SIGTERM)
	r.wg.Go(func() {
		timer := time.NewTimer(stopTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			_ = r.child.Kill()
		case <-r.left:
		case <-ctx.Done():
		}
	})
}

// result is what toska run ends with.
func (r *runner) result(e exit, reason error) error {
	switch {
	case reason != nil:
		return reason
	case e.err != nil:
		return fmt.Errorf("wait for the program: %w", e.err)
	case e.status == 0:
		return nil
	}
	if r.keeper == nil {
		say(r.env.Stderr, "toska: the program ended with status %d before %s answered", e.status, r.port.what())
	}
	return &childStatus{e.status}
}

var _ toska.Discovery = (*follower)(nil)
var _ toska.Discovery = mesh.Discovery(nil)
