package probers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/signal/probe"
)

const (
	// maxBody is how much of a body is read; the rest is dropped with its connection.
	maxBody = 4 << 10
	// maxHead bounds the head of an answer.
	maxHead = 64 << 10
	// maxRedirects is how often a probe is sent on.
	maxRedirects = 3
)

// newClient returns a client that keeps nothing from one probe to the next: no connection, cookie or
// credential, and no proxy of the environment stands between it and the instance.
func newClient(roots *x509.CertPool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Client{
		CheckRedirect: stay,
		Transport: &http.Transport{
			Protocols: &protocols, DisableKeepAlives: true, DisableCompression: true,
			MaxResponseHeaderBytes: maxHead, ReadBufferSize: maxBody, WriteBufferSize: 1 << 10,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				host, _, err := net.SplitHostPort(address)
				if err != nil {
					return nil, fmt.Errorf("read the address to dial: %w", err)
				}
				return dialer(host).DialContext(ctx, network, address)
			},
		},
	}
}

// stay lets a redirect lead to another path of the same place only.
func stay(next *http.Request, before []*http.Request) error {
	if next.URL.User != nil || place(next.URL) != place(before[0].URL) {
		return &refusal{fmt.Sprintf("answered %d to %s, outside of what the instance registered",
			next.Response.StatusCode, next.URL.Redacted())}
	}
	if len(before) > maxRedirects {
		return &refusal{fmt.Sprintf("was sent on more than %d times, last to %s", maxRedirects, next.URL.RequestURI())}
	}
	// Where it came from is nobody's business.
	next.Header.Del("Referer")
	return nil
}

// place is what two URLs of one server have in common.
func place(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

func (p *Prober) http(ctx context.Context, t *probe.Target) (probe.Result, error) {
	u, err := url.ParseRequestURI(t.Check.HTTP)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return probe.Result{}, &refusal{fmt.Sprintf("the path of the check, %.64q, is none", t.Check.HTTP)}
	}
	u.Scheme, u.Host = "http", t.HostPort()
	if t.Check.TLS {
		u.Scheme = "https"
	}
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"User-Agent": {p.agent}, "Accept": {"*/*"}}}).WithContext(ctx)
	resp, err := p.client.Do(req)
	if err != nil {
		return probe.Result{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return probe.Result{}, &refusal{fmt.Sprintf("answered %d, and its body broke off: %s", resp.StatusCode, brief(ctx, err))}
	}
	said := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if text := line(string(body)); text != "" {
		said += ": " + text
	}
	return probe.Result{OK: resp.StatusCode >= 200 && resp.StatusCode < 300, Output: line(said)}, nil
}

func brief(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "it took longer than the whole probe may"
	}
	return err.Error()
}
