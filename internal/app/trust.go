package app

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/internal/traffic/upstream"
	"github.com/toska-mesh/toska-mesh/internal/trust/certificate"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// trustPoll is how often the files of certificates and authorities are looked at.
const trustPoll = time.Second

// What is offered where TLS is spoken: by the data plane, and by the ports of our own.
var (
	http11 = []string{"http/1.1"}
	http2  = []string{"h2", "http/1.1"}
)

// trust is the material of TLS that the node has in use.
type trust struct {
	// servers by listener; they are there from the start
	servers map[string]*certificate.Server
	// clients by what services are configured with; a new configuration brings a new map
	clients atomic.Pointer[map[upstream.TLS]*certificate.Client]
}

// openTrust reads the certificates of every listener that is served here.
func (a *App) openTrust() error {
	a.trust.servers = map[string]*certificate.Server{}
	f := a.cfg.File
	if f == nil {
		return nil
	}
	if a.cfg.runs(RoleGateway) {
		for _, name := range f.Secure() {
			if err := a.openServer(name, f.Listeners[name].TLS, http11); err != nil {
				return err
			}
		}
	}
	if f.ControlTLS != nil {
		if err := a.openServer(listenControl, f.ControlTLS, http2); err != nil {
			return err
		}
	}
	if f.Discovery.TLS != nil && a.cfg.runs(RoleDiscovery) {
		return a.openServer(listenDiscovery, f.Discovery.TLS, http2)
	}
	return nil
}

// The words of the configuration file, and what they mean.
var (
	versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	clients  = map[string]certificate.ClientMode{
		routefile.VerifyClients:  certificate.VerifyIfGiven,
		routefile.RequireClients: certificate.RequireClientCertificate,
	}
)

func (a *App) openServer(name string, t *routefile.TLS, protocols []string) error {
	cfg := certificate.ServerConfig{
		Name: name, MinVersion: versions[t.MinVersion], Protocols: protocols,
		Clients: clients[t.Clients], ClientCA: t.ClientCA, Log: a.log("certificates"),
	}
	for _, c := range t.Certificates {
		cfg.Pairs = append(cfg.Pairs, certificate.Files{Cert: c.Cert, Key: c.Key})
	}
	s, err := certificate.OpenServer(cfg)
	if err != nil {
		return err
	}
	a.trust.servers[name] = s
	return nil
}

// files returns the file of each listener's first certificate.
func (t *trust) files() map[string]string {
	out := map[string]string{}
	for name, s := range t.servers {
		file := s.File()
		if abs, err := filepath.Abs(file); err == nil {
			file = abs
		}
		out[name] = file
	}
	return out
}

// trustServices reads what is needed for the services of a configuration. What cannot be read closes the
// way to the service, and not the node.
func (a *App) trustServices(services []route.ServiceSpec) {
	known := map[upstream.TLS]*certificate.Client{}
	if last := a.trust.clients.Load(); last != nil {
		known = *last
	}
	next := map[upstream.TLS]*certificate.Client{}
	add := func(name string, t upstream.TLS) {
		if next[t] != nil {
			return
		}
		if next[t] = known[t]; next[t] == nil {
			next[t] = certificate.OpenClient(certificate.ClientConfig{
				Name: name, CA: t.CA, ServerName: t.ServerName, Pair: certificate.Files{Cert: t.Cert, Key: t.Key},
				Protocols: http11, Log: a.log("certificates"),
			})
		}
	}
	for i := range services {
		add("service "+services[i].Name, services[i].TLS)
	}
	add("services", upstream.TLS{})
	a.trust.clients.Store(&next)
}

var errNoMaterial = errors.New("nothing was read for it")

// config returns what has the configuration of TLS towards endpoints.
func (t *trust) config(to upstream.TLS) func() (*tls.Config, error) {
	if c := (*t.clients.Load())[to]; c != nil {
		return c.TLS
	}
	return func() (*tls.Config, error) { return nil, errNoMaterial }
}

// look reads the files that changed.
func (t *trust) look() {
	for _, s := range t.servers {
		s.Look()
	}
	if clients := t.clients.Load(); clients != nil {
		for _, c := range *clients {
			c.Look()
		}
	}
}

// alarms returns what is wrong with the files, in the same order each time.
func (t *trust) alarms(now time.Time) []mesh.Alarm {
	var out []mesh.Alarm
	for _, name := range slices.Sorted(maps.Keys(t.servers)) {
		out = append(out, t.servers[name].Alarms(now)...)
	}
	var of []mesh.Alarm
	if clients := t.clients.Load(); clients != nil {
		for _, c := range *clients {
			of = append(of, c.Alarms(now)...)
		}
	}
	slices.SortFunc(of, func(a, b mesh.Alarm) int { return strings.Compare(a.Detail, b.Detail) })
	return append(out, of...)
}

// followTrust looks at the files of certificates until ctx ends. A certificate that expires is told of once
// for each day that is left.
func (a *App) followTrust(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(trustPoll)
	defer tick.Stop()
	told := map[string]bool{}
	for {
		alarms := map[string]bool{}
		for _, al := range a.trust.alarms(time.Now()) {
			if alarms[al.Detail] = true; !told[al.Detail] && al.Code == certificate.CodeExpiry {
				a.log("certificates").Warn("certificate is at the end of its time", "detail", al.Detail)
			}
		}
		told = alarms
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.trust.look()
		}
	}
}

// placeFiles makes the paths of a configuration file those that it means: from its own directory.
func placeFiles(f *routefile.File, dir string) {
	place := func(paths ...*string) {
		for _, p := range paths {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
	}
	of := func(t *routefile.TLS) {
		if t == nil {
			return
		}
		for i := range t.Certificates {
			place(&t.Certificates[i].Cert, &t.Certificates[i].Key)
		}
		place(&t.ClientCA)
	}
	for _, l := range f.Listeners {
		of(l.TLS)
	}
	of(f.ControlTLS)
	of(f.Discovery.TLS)
	for i := range f.Set.Services {
		t := &f.Set.Services[i].TLS
		place(&t.CA, &t.Cert, &t.Key)
	}
}
