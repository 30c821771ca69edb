package toska

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/trust/pointer"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Node is a node of the mesh that a program may talk to.
type Node struct {
	// Control is the node's control address, host:port.
	Control string
	// Token to show to it; may be empty.
	Token string
	// Gateway is host:port of its gateway; empty if that is not known.
	Gateway string
	// DataDir is the node's data directory, if the node was found on this machine by itself: whoever knows it
	// finds the node again after it has come back on other ports.
	DataDir string
}

// Locator returns the nodes that may be talked to, in the order in which they are tried; none is an error.
// known is the node that was talked to last, and zero before the first. It is called whenever the known node
// does not answer, by several goroutines at a time. An error of the kind mesh.ErrInvalid says that trying
// again is of no use.
type Locator func(ctx context.Context, known Node) ([]Node, error)

// locator is where a program finds the mesh by itself.
type locator struct {
	controls  []string
	token     string
	tokenFile string
	family    bool // the addresses are those of discovery ports, by the family's habit
}

// locate is a Locator: the addresses that were named, or the one node of this user.
func (l *locator) locate(ctx context.Context, known Node) ([]Node, error) {
	token, err := l.shown()
	if err != nil {
		return nil, err
	}
	var living []pointer.Pointer
	if len(l.controls) == 0 || token == "" || l.family {
		living, err = pointer.Living(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("look for a node: %w", err)
	}
	if len(l.controls) == 0 {
		return only(living, known, token)
	}
	nodes := make([]Node, 0, len(l.controls))
	for _, control := range l.controls {
		nodes = append(nodes, complete(ctx, control, token, living))
	}
	return nodes, nil
}

// shown returns the token that the program was given; empty for none.
func (l *locator) shown() (string, error) {
	if l.tokenFile == "" {
		return l.token, nil
	}
	data, err := os.ReadFile(l.tokenFile)
	if err != nil {
		return "", unavailable("read the token: "+err.Error(), err)
	}
	if t := strings.TrimSpace(string(data)); t != "" {
		return t, nil
	}
	return "", unavailable("read the token: "+l.tokenFile+" is empty", nil)
}

// only returns the node of this user that was known, or the only one that lives.
func only(living []pointer.Pointer, known Node, token string) ([]Node, error) {
	if known.DataDir != "" {
		for _, p := range living {
			if p.DataDir == known.DataDir {
				return []Node{pointed(p, token)}, nil
			}
		}
		return nil, unavailable(fmt.Sprintf("look for a node: the one with data directory %s does not run; start it with \"toska up --data %s\"",
			known.DataDir, known.DataDir), nil)
	}
	switch len(living) {
	case 0:
		return nil, unavailable(`look for a node: none of this user runs on this machine; start one with "toska up", or set TOSKA_CONTROL to HOST:PORT`, nil)
	case 1:
		return []Node{pointed(living[0], token)}, nil
	}
	list := make([]string, len(living))
	for i, p := range living {
		list[i] = fmt.Sprintf("%s (data directory %s)", pointer.Reachable(p.Addresses["control"]), p.DataDir)
	}
	return nil, &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: fmt.Sprintf(
		"look for a node: %d nodes of this user run on this machine: %s; set TOSKA_CONTROL to the one that is meant",
		len(living), strings.Join(list, ", "))}
}

// complete adds what is known of a named node if it is one of this user's. The address of its port for
// clients of the family stands for it, too.
func complete(ctx context.Context, control, token string, living []pointer.Pointer) Node {
	if p, ok := pointer.Named(ctx, living, control, "control", "discovery"); ok {
		n := pointed(p, token)
		n.DataDir = "" // it was named: another one at this address will do
		return n
	}
	return Node{Control: control, Token: token}
}

func pointed(p pointer.Pointer, token string) Node {
	n := Node{Control: pointer.Reachable(p.Addresses["control"]), Token: token, DataDir: p.DataDir}
	if token == "" {
		n.Token = p.ServiceToken
	}
	if g := p.Addresses["gateway"]; g != "" {
		n.Gateway = pointer.Reachable(g)
	}
	return n
}

func unavailable(detail string, cause error) error {
	return &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: detail, Cause: cause}
}

var errNoNodes = errors.New("the locator returned no node")
