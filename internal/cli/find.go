package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

// errNoNode is that nothing was found, where a fail of codeNoNode may also be that too much was.
var errNoNode = errors.New("none of this user runs on this machine")

// finder finds the node that a command is for, and the token to show it.
type finder struct {
	env  *Env
	role identity.Role // whose token to take by itself

	control   string
	tokenFile string
	token     string
}

// target is a node to talk to.
type target struct {
	control string
	token   string
	// gateway is host:port; empty if it is not known yet.
	gateway string
	// dataDir is set where the node was found by itself.
	dataDir string
}

func addFinder(c *cobra.Command, env *Env, role identity.Role) *finder {
	f := &finder{env: env, role: role}
	flags := c.Flags()
	flags.StringVar(&f.control, "control", "", "control address of the node, HOST:PORT, or https://HOST:PORT where it speaks TLS (env TOSKA_CONTROL; default: the node of this user)")
	flags.StringVar(&f.tokenFile, "token-file", "", "file that holds the token to show")
	flags.StringVar(&f.token, "token", "", "token to show; other users can see it in ps, so prefer --token-file or env TOSKA_TOKEN")
	c.MarkFlagsMutuallyExclusive("token", "token-file")
	return f
}

// named returns the control address that the operator gave; empty for none.
func (f *finder) named() (string, error) {
	addr, from := f.control, "--control"
	if addr == "" {
		addr, from = f.env.Getenv("TOSKA_CONTROL"), "TOSKA_CONTROL"
	}
	if addr == "" {
		return "", nil
	}
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
	host, port, err := net.SplitHostPort(strings.TrimSuffix(httpapi.HostPort(addr), "/"))
	n, convErr := strconv.Atoi(port)
	if err != nil || convErr != nil || host == "" || n < 1 || n > 65535 {
		return "", fail(codeUsage, from+" wants HOST:PORT, such as 127.0.0.1:5010", "%s %q is not an address", from, addr)
	}
	return addr, nil
}

// shown returns the token that the operator gave; empty for none.
func (f *finder) shown() (string, error) {
	if f.token != "" {
		return f.token, nil
	}
	if f.tokenFile == "" {
		return f.env.Getenv("TOSKA_TOKEN"), nil
	}
	data, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fail(codeUsage, "--token-file wants a file that holds a token, such as DATA-DIRECTORY/secrets/admin.token",
			"read the token: %w", err)
	}
	if t := strings.TrimSpace(string(data)); t != "" {
		return t, nil
	}
	return "", fail(codeUsage, "--token-file wants a file that holds a token", "read the token: %s is empty", f.tokenFile)
}

// find returns the node that was named, or the one that lives, or the one that is chosen of several.
func (f *finder) find(ctx context.Context) (target, error) {
	addr, err := f.named()
	if err != nil {
		return target{}, err
	}
	token, err := f.shown()
	if err != nil {
		return target{}, err
	}
	living, err := f.env.Living(ctx)
	if err != nil {
		return target{}, fmt.Errorf("look for a node: %w", err)
	}
	if addr != "" {
		return f.match(ctx, addr, token, living), nil
	}
	switch len(living) {
	case 0:
		return target{}, fail(codeNoNode, `start one with "toska up", or name one with --control HOST:PORT`,
			"look for a node: %w", errNoNode)
	case 1:
		return f.target(living[0], token), nil
	}
	p, err := f.choose(living)
	return f.target(p, token), err
}

// again looks for a node that was known before, or for any if none was.
func (f *finder) again(ctx context.Context, known target) (target, error) {
	if known.dataDir == "" {
		return f.find(ctx)
	}
	token, err := f.shown()
	if err != nil {
		return target{}, err
	}
	living, err := f.env.Living(ctx)
	if err != nil {
		return target{}, fmt.Errorf("look for a node: %w", err)
	}
	for _, p := range living {
		if p.DataDir == known.dataDir {
			return f.target(p, token), nil
		}
	}
	return target{}, fmt.Errorf("look for a node: the one with data directory %s does not run; "+
		"start it with \"toska up --data %s\"", known.dataDir, known.dataDir)
}

// beside returns the address of a listener of the node at control, as seen from here: one on all
// addresses, or on the node's loopback, is reached where control is.
func beside(control, listener string) string {
	host, _, err := net.SplitHostPort(httpapi.HostPort(control))
	l, port, err2 := net.SplitHostPort(listener)
	if err != nil || err2 != nil {
		return ""
	}
	if ip := net.ParseIP(l); l == "" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		return net.JoinHostPort(host, port)
	}
	return listener
}

// match completes a named address with what is known of the node if it is one of this user's.
func (f *finder) match(ctx context.Context, addr, token string, living []pointer.Pointer) target {
	if p, ok := pointer.Named(ctx, living, httpapi.HostPort(addr), "control"); ok {
		return f.target(p, token)
	}
	return target{control: addr, token: token}
}

func (f *finder) target(p pointer.Pointer, token string) target {
	if token == "" && f.role == identity.Admin {
		token = p.AdminToken
	} else if token == "" {
		token = p.ServiceToken
	}
	t := target{control: controlOf(p), token: token, dataDir: p.DataDir}
	if g := p.Addresses["gateway"]; g != "" {
		t.gateway = pointer.Reachable(g)
	}
	return t
}

// controlOf returns the control address of a node of this user, with the certificate that it must show where
// it speaks TLS.
func controlOf(p pointer.Pointer) string {
	addr := pointer.Reachable(p.Addresses["control"])
	if file := p.TLS["control"]; file != "" {
		return "https://" + addr + "#" + file
	}
	return addr
}

// choose asks on a terminal which of several nodes is meant.
func (f *finder) choose(living []pointer.Pointer) (pointer.Pointer, error) {
	list := make([]string, len(living))
	for i, p := range living {
		list[i] = fmt.Sprintf("--control %s  (data directory %s)", pointer.Reachable(p.Addresses["control"]), p.DataDir)
	}
	if !isTerminal(f.env.Stdin) || !isTerminal(f.env.Stderr) {
		return pointer.Pointer{}, fail(codeNoNode, "say which one:\n  "+strings.Join(list, "\n  "),
			"look for a node: %d nodes of this user run here", len(living))
	}
	say(f.env.Stderr, "%d nodes run here:", len(living))
	for i, line := range list {
		say(f.env.Stderr, "  %d  %s", i+1, line)
	}
	_, _ = fmt.Fprintf(f.env.Stderr, "which one? [1-%d] ", len(living))
	answer, _ := bufio.NewReader(f.env.Stdin).ReadString('\n')
	n, err := strconv.Atoi(strings.TrimSpace(answer))
	if err != nil || n < 1 || n > len(living) {
		return pointer.Pointer{}, fail(codeNoNode, "say which one:\n  "+strings.Join(list, "\n  "), "no node was chosen")
	}
	return living[n-1], nil
}

// with runs what a command does with the node.
func (f *finder) with(ctx context.Context, do func(context.Context, Client, target) error) error {
	t, err := f.find(ctx)
	if err != nil {
		return err
	}
	c := f.env.Connect(t.control, t.token)
	defer c.Close()
	return do(ctx, c, t)
}
