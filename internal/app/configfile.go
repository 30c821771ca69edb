package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// CodeConfig is a configuration file that is not taken.
const CodeConfig = "TOSKA-CONFIG-INVALID"

// configPoll is how often the configuration file is looked at.
const configPoll = time.Second

// ReadConfig reads a configuration file. The problems are those of single objects, which are quarantined;
// an error is a file that cannot be taken at all.
func ReadConfig(path string) (*routefile.File, routefile.Problems, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	f, problems := routefile.Parse(path, data)
	if err := problems.Err(); err != nil {
		return nil, problems, err
	}
	if f.Compat != "" {
		return nil, problems, &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeConfig,
			Detail: path + ": compat: " + f.Compat + " is not honoured by this version, and would close or open what its settings say; set those one by one"}
	}
	return f, problems, nil
}

// UseFile takes over what a configuration file says and what neither a flag nor the environment did:
// given tells of flags by name.
func (c *Config) UseFile(path string, given func(flag string) bool) error {
	f, problems, err := ReadConfig(path)
	if err != nil {
		return err
	}
	for _, p := range problems {
		c.Log.Warn("object quarantined", "problem", p.String())
	}
	def := DefaultConfig()
	take := func(flag, value, untouched string, to *string) {
		if value != "" && !given(flag) && *to == untouched {
			*to = value
		}
	}
	take("listen-gateway", f.Listeners[routefile.GatewayListener].Address.HostPort, def.ListenGateway, &c.ListenGateway)
	take("listen-control", f.Control.HostPort, def.ListenControl, &c.ListenControl)
	take("listen-discovery", f.Discovery.Address.HostPort, def.ListenDiscovery, &c.ListenDiscovery)
	if f.OTLP.Endpoint != "" {
		ratio := f.OTLP.Ratio
		c.Spans = otel.Config{Endpoint: f.OTLP.Endpoint, Protocol: f.OTLP.Protocol, Insecure: f.OTLP.Insecure, Ratio: &ratio}
	}
	c.ConfigFile, c.File = path, f
	return nil
}

// setOf is what is configured about routing; what the environment says holds where the file is silent.
func (a *App) setOf(f *routefile.File) *route.Set {
	set := route.Set{}
	if f != nil {
		set = f.Set
		set.TrustedProxies = f.TrustedProxies
	}
	if set.Defaults.Attempts == 0 {
		set.Defaults.Attempts = a.cfg.Attempts
	}
	return &set
}

// anonymous reports whether the family's surface is open to everybody.
func (a *App) anonymous() bool { return a.cfg.File != nil && a.cfg.File.Discovery.Anonymous }

// followConfig puts the file's routes and services in force when it changes. A file that cannot be taken
// leaves the last good one in force, and says so until it can.
func (a *App) followConfig(ctx context.Context, ready func()) error {
	ready()
	seen := stamp(a.cfg.ConfigFile)
	tick := time.NewTicker(configPoll)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-a.cfg.Reload:
			asked = true
		case <-tick.C:
		}
		if now := stamp(a.cfg.ConfigFile); asked || now != seen {
			seen = now
			a.reload()
		}
	}
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	at   time.Time
	size int64
}

func stamp(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.ModTime(), info.Size()}
}

func (a *App) reload() {
	log := a.log("configuration")
	f, problems, err := ReadConfig(a.cfg.ConfigFile)
	if err != nil {
		detail := err.Error()
		a.configAlarm.Store(&detail)
		log.Error("configuration is not taken, the last good one stays in force", "file", a.cfg.ConfigFile, "error", err)
		return
	}
	a.configAlarm.Store(nil)
	for _, p := range problems {
		log.Warn("object quarantined", "problem", p.String())
	}
	a.gateway.Configure(a.setOf(f))
	log.Info("configuration in force", "file", a.cfg.ConfigFile, "routes", len(f.Set.Routes),
		"services", len(f.Set.Services), "quarantined", len(f.Set.Quarantined))
}

// addConfig tells of what of the configuration is not in force.
func (a *App) addConfig(st *mesh.Status) {
	if detail := a.configAlarm.Load(); detail != nil {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: CodeConfig, Detail: *detail + "; the last good configuration stays in force"})
	}
	_, refused := a.gateway.Routes()
	for _, r := range refused {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: CodeConfig,
			Detail: fmt.Sprintf("%s: %s %q is quarantined: %s", r.Origin, r.Kind, r.Name, r.Reason)})
	}
}

// FindConfig returns the configuration file beside a data directory, or empty.
func FindConfig(dataDir string) string {
	path := filepath.Join(filepath.Dir(filepath.Clean(dataDir)), "mesh.yaml")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return path
}
