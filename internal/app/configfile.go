package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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

// mostTold is how many quarantined objects are told of one by one in the log and in the alarms.
const mostTold = 20

// ReadConfigFile returns what is in a configuration file. Of one that is too large to be taken it returns
// no more than shows that. What is no file, and might never end, is refused.
func ReadConfigFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if what := notAFile(info.Mode()); what != "" {
		return nil, fmt.Errorf("read the configuration: %s is %s; name a plain file", path, what)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, routefile.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return data, nil
}

// notAFile says what is there instead of a plain file, nothing if it is one.
func notAFile(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return ""
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "no plain file"
}

// ReadConfig reads a configuration file. The problems are those of single objects, which are quarantined;
// an error is a file that cannot be taken at all.
func ReadConfig(path string) (*routefile.File, routefile.Problems, error) {
	data, err := ReadConfigFile(path)
	if err != nil {
		return nil, nil, err
	}
	f, problems := routefile.Parse(path, data)
	if err := problems.Err(); err != nil {
		return nil, problems, err
	}
	return f, problems, nil
}

// tellProblems logs the first objects that are quarantined, and how many more there are.
func tellProblems(log *slog.Logger, path string, problems routefile.Problems) {
	for _, p := range problems[:min(len(problems), mostTold)] {
		log.Warn("object quarantined", "problem", p.String())
	}
	if more := len(problems) - mostTold; more > 0 {
		log.Warn("more objects quarantined", "problems", more, "all", "toska config check "+path)
	}
}

// UseFile takes over what a configuration file says and what neither a flag nor the environment did:
// given tells of flags by name.
func (c *Config) UseFile(path string, given func(flag string) bool) error {
	f, problems, err := ReadConfig(path)
	if err != nil {
		return err
	}
	tellProblems(c.Log, path, problems)
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

// setOf is what is configured about routing. What the environment says wins over the file's defaults, and
// not over what the file says of a route or a service.
func (a *App) setOf(f *routefile.File) *route.Set {
	set := route.Set{}
	if f != nil {
		set = f.Set
		set.TrustedProxies = f.TrustedProxies
	}
	set.Defaults.Attempts = cmp.Or(a.cfg.Attempts, set.Defaults.Attempts)
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
		detail := err.Error() + "; the last good configuration stays in force"
		a.configAlarm.Store(&detail)
		log.Error("configuration is not taken, the last good one stays in force", "file", a.cfg.ConfigFile, "error", err)
		return
	}
	a.configAlarm.Store(a.awaitsStart(log, f))
	tellProblems(log, a.cfg.ConfigFile, problems)
	a.gateway.Configure(a.setOf(f))
	log.Info("configuration in force", "file", a.cfg.ConfigFile, "routes", len(f.Set.Routes),
		"services", len(f.Set.Services), "quarantined", len(f.Set.Quarantined))
}

// awaitsStart tells of what the file says now and a node reads at its start only. It returns the detail of
// an alarm, nil if there is nothing to tell.
func (a *App) awaitsStart(log *slog.Logger, f *routefile.File) *string {
	keys := a.cfg.startKeys(f)
	if len(keys) == 0 {
		return nil
	}
	list := strings.Join(keys, ", ")
	log.Warn("configuration takes effect at the next start", "file", a.cfg.ConfigFile, "keys", list)
	return new(a.cfg.ConfigFile + ": takes effect at the next start: " + list)
}

// startKeys returns the keys that are read at the start only and whose values in f are others than those
// that the node started with. Where a flag or the environment has the say, the file changes nothing.
func (c *Config) startKeys(f *routefile.File) []string {
	was, def := c.File, DefaultConfig()
	if was == nil {
		was = &routefile.File{OTLP: f.OTLP}
	}
	var keys []string
	differs := func(key string, yes bool) {
		if yes {
			keys = append(keys, key)
		}
	}
	moved := func(before, now, inForce, untouched string) bool {
		return before != now && inForce == cmp.Or(before, untouched)
	}
	gateway := routefile.GatewayListener
	differs("listeners.gateway.address", moved(was.Listeners[gateway].Address.HostPort, f.Listeners[gateway].Address.HostPort,
		c.ListenGateway, def.ListenGateway))
	differs("control.address", moved(was.Control.HostPort, f.Control.HostPort, c.ListenControl, def.ListenControl))
	differs("discovery.address", moved(was.Discovery.Address.HostPort, f.Discovery.Address.HostPort, c.ListenDiscovery, def.ListenDiscovery))
	differs("discovery.anonymous", was.Discovery.Anonymous != f.Discovery.Anonymous)
	differs("limits", was.Limits != f.Limits)
	otlp, otlpWas := f.OTLP, was.OTLP
	otlp.Origin, otlpWas.Origin = route.Origin{}, route.Origin{}
	differs("otlp", otlp != otlpWas)
	return keys
}

// addConfig tells of what of the configuration is not in force.
func (a *App) addConfig(st *mesh.Status) {
	alarm := func(detail string) {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: CodeConfig, Detail: detail})
	}
	if detail := a.configAlarm.Load(); detail != nil {
		alarm(*detail)
	}
	_, refused := a.gateway.Routes()
	for _, r := range refused[:min(len(refused), mostTold)] {
		alarm(fmt.Sprintf("%s: %s %q is quarantined: %s", r.Origin, r.Kind, r.Name, r.Reason))
	}
	if more := len(refused) - mostTold; more > 0 {
		alarm(fmt.Sprintf("and %d more objects are quarantined; toska config check %s tells of all", more, a.cfg.ConfigFile))
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
