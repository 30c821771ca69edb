// Package probers makes single probes: an HTTP request or a TCP connection, to nothing but the address
// that an instance registered.
//
// # Concurrency
//
// A Prober is safe for concurrent use and starts no goroutine that outlives a probe.
package probers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
)

// Config is what a node decides about its probes.
type Config struct {
	// Version of this program, which probes tell as toska-probe/VERSION.
	Version string
	// Roots are the authorities whose certificates are taken; nil for the system's.
	Roots *x509.CertPool
}

// Prober implements probe.Prober. Each probe has a connection of its own: what counts is whether the
// instance takes new ones.
type Prober struct {
	agent  string
	client *http.Client
}

var _ probe.Prober = (*Prober)(nil)

// New returns a prober.
func New(cfg Config) *Prober {
	return &Prober{agent: "toska-probe/" + cfg.Version, client: newClient(cfg.Roots)}
}

// Probe implements probe.Prober.
func (p *Prober) Probe(ctx context.Context, t *probe.Target) probe.Result {
	begin := time.Now()
	answer, err := p.attempt(ctx, t)
	if err != nil {
		return probe.Result{Output: line(reason(ctx, t, err, time.Since(begin)))}
	}
	return answer
}

func (p *Prober) attempt(ctx context.Context, t *probe.Target) (probe.Result, error) {
	if t.Check.HTTP != "" {
		return p.http(ctx, t)
	}
	conn, err := dialer(t.Address).DialContext(ctx, "tcp", t.HostPort())
	if err != nil {
		return probe.Result{}, err
	}
	// Nothing was written that closing could lose.
	_ = conn.Close()
	return probe.Result{OK: true, Output: "accepts connections"}, nil
}

// dialer refuses what a host name may resolve to and must not be probed. It looks at the address that is
// about to be connected to, so that a name cannot mean another one when it is looked up once more.
func dialer(host string) *net.Dialer {
	d := &net.Dialer{KeepAlive: -1}
	if _, err := netip.ParseAddr(host); err == nil {
		return d // registered as it is, and nobody can make it mean another one
	}
	d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return admit(host, address)
	}
	return d
}

// admit refuses the addresses of this machine and its link, which mean something else here than where the
// name was registered.
func admit(host, address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &refusal{fmt.Sprintf("%s resolves to %s, which is no address", host, address)}
	}
	what := ""
	switch ip := ap.Addr().Unmap(); {
	case ip.IsLoopback():
		what = "loopback"
	case ip.IsUnspecified():
		what = "unspecified"
	case ip.IsLinkLocalUnicast():
		what = "link-local"
	case ip.IsMulticast():
		what = "multicast"
	default:
		return nil
	}
	return &refusal{fmt.Sprintf("%s resolves to the %s address %s, which is probed only where an instance registered it as such",
		host, what, ap.Addr().Unmap())}
}

// refusal is a probe that was not made, or not to its end, for the mesh's own sake.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// reason tells why a probe failed, without what a reader of its target knows already.
func reason(ctx context.Context, t *probe.Target, err error, took time.Duration) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.reason
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return fmt.Sprintf("no whole answer within %s", took.Round(time.Millisecond))
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "connection refused by " + t.HostPort()
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return d.Error()
	}
	if c, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate is not taken: " + c.Err.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return "closed the connection without an answer"
	}
	// The library tells what was asked for once more.
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	return err.Error()
}
