package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// configPoll is how often the configuration file is looked at. A change is read when two looks in a row find
// the same: who writes it may not be done.
const configPoll = 500 * time.Millisecond

// configNow is what is known of the configuration file. It is immutable.
type configNow struct {
	inForce *reading // nil while nothing was taken
	state   string   // one of mesh.Config*
	alarms  []mesh.Alarm
}

// configured is what the start made of the file.
func (c *Config) configured() *configNow {
	switch {
	case c.refused != nil:
		return &configNow{inForce: c.start, state: mesh.ConfigLastGood, alarms: refusal(c.refused)}
	case c.start != nil:
		return &configNow{inForce: c.start, state: mesh.ConfigInForce}
	}
	return &configNow{state: mesh.ConfigNone}
}

// refusal is an alarm for each mistake.
func refusal(r *reading) []mesh.Alarm {
	var out []mesh.Alarm
	for _, m := range r.mistakes() {
		out = append(out, mesh.Alarm{Code: CodeConfig, Detail: m + "; the last good configuration stays in force"})
	}
	return out
}

// followConfig puts the file's routes, services and checks in force when it changes. A file that cannot be taken
// leaves the last good one in force, and says so until it can.
func (a *App) followConfig(ctx context.Context, ready func()) error {
	log, path := a.log("configuration"), a.cfg.ConfigFile
	now := a.config.Load()
	switch now.state {
	case mesh.ConfigInForce:
		log.Info("configuration in force", "file", path, "loaded", now.inForce.at)
		a.keep(log, now.inForce)
	case mesh.ConfigNone:
		log.Info("no configuration file; one that is made is taken", "file", absolute(path))
	}
	ready()
	seen := a.cfg.stamp
	last := seen
	tick := time.NewTicker(configPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.cfg.Reload:
			a.reopenLog(log)
			seen = stamp(path)
			a.reload(log, true)
			last = seen
			continue
		case <-tick.C:
		}
		found := stamp(path)
		if found != seen && found == last {
			seen = found
			a.reload(log, false)
		}
		last = found
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

// reload takes the file as it is now. Who asked for it is always answered in the log.
func (a *App) reload(log *slog.Logger, asked bool) {
	path, was := a.cfg.ConfigFile, a.config.Load()
	r := look(path)
	switch {
	case was.inForce == nil && errors.Is(r.err, fs.ErrNotExist):
		if asked {
			log.Info("no configuration file, nothing to take", "file", absolute(path))
		}
		return
	case r.err == nil && r.empty() && was.inForce != nil && !was.inForce.empty():
		r.refuseEmpty(path)
	}
	if r.err != nil {
		a.config.Store(&configNow{inForce: was.inForce, state: mesh.ConfigLastGood, alarms: refusal(r)})
		for _, m := range r.mistakes() {
			log.Error("configuration is not taken, the last good one stays in force", "file", path, "problem", m)
		}
		return
	}
	if was.inForce != nil && len(was.alarms) == 0 && bytes.Equal(r.text, was.inForce.text) {
		log.Info("configuration unchanged", "file", path)
		return
	}
	a.apply(log, was.inForce, r)
}

func (a *App) apply(log *slog.Logger, was, is *reading) {
	path, f := a.cfg.ConfigFile, is.file
	a.config.Store(&configNow{inForce: is, state: mesh.ConfigInForce, alarms: a.awaitsStart(log, f)})
	tellProblems(log, path, is.problems)
	if was != nil {
		tellGone(log, path, was.file, f)
	}
	if a.gateway != nil {
		a.gateway.Configure(a.setOf(f))
	}
	if a.health != nil {
		a.health.Configure(f.Checks)
	}
	a.configureLog(log, f)
	a.keep(log, is)
	log.Info("configuration in force", "file", path, "loaded", is.at, "routes", len(f.Set.Routes),
		"services", len(f.Set.Services), "quarantined", len(f.Set.Quarantined))
}

// keep writes what was taken to the data directory, for a start that cannot take what is there then.
func (a *App) keep(log *slog.Logger, r *reading) {
	dir, ok := a.dir.(*file.Dir)
	if !ok {
		return
	}
	if err := file.ConfigIn(dir.Path()).Save(absolute(a.cfg.ConfigFile), r.text, r.at); err != nil {
		log.Warn("configuration could not be kept for the next start", "error", err)
	}
}

// tellGone names what the file had and has no more. What is quarantined is told of as that.
func tellGone(log *slog.Logger, path string, was, is *routefile.File) {
	names := func(f *routefile.File) (routes, services []string) {
		for i := range f.Set.Routes {
			routes = append(routes, f.Set.Routes[i].Name)
		}
		for i := range f.Set.Services {
			services = append(services, f.Set.Services[i].Name)
		}
		return routes, services
	}
	gone := func(kind string, before, now []string) {
		there := make(map[string]bool, len(now))
		for _, name := range now {
			there[name] = true
		}
		for _, r := range is.Set.Quarantined {
			there[r.Name] = there[r.Name] || r.Kind == kind
		}
		before = slices.DeleteFunc(before, func(name string) bool { return there[name] })
		if len(before) > 0 {
			log.Warn("configuration has lost what it had", "file", path, "kind", kind, "count", len(before),
				"names", strings.Join(before[:min(len(before), mostTold)], ", "))
		}
	}
	routesBefore, servicesBefore := names(was)
	routes, services := names(is)
	gone("route", routesBefore, routes)
	gone("service", servicesBefore, services)
}

// awaitsStart tells of what the file says now and a node reads at its start only, as an alarm; nil if there is
// nothing to tell.
func (a *App) awaitsStart(log *slog.Logger, f *routefile.File) []mesh.Alarm {
	keys := a.cfg.startKeys(f)
	if len(keys) == 0 {
		return nil
	}
	list := strings.Join(keys, ", ")
	log.Warn("configuration takes effect at the next start", "file", a.cfg.ConfigFile, "keys", list)
	return []mesh.Alarm{{Code: CodeConfigPending, Detail: a.cfg.ConfigFile + ": takes effect at the next start: " + list}}
}

// startKeys returns the keys that are read at the start only and whose values in f are others than those
// that the node started with. Where a flag or the environment has the say, the file changes nothing.
func (c *Config) startKeys(f *routefile.File) []string {
	was, def := c.File, DefaultConfig()
	if was == nil {
		was = &routefile.File{OTLP: routefile.OTLP{Protocol: routefile.OTLPGRPC, Ratio: 1}}
	}
	var keys []string
	differs := func(key string, yes bool) {
		if yes {
			keys = append(keys, key)
		}
	}
	moved := func(flag, before, now, untouched string) bool {
		return cmp.Or(before, untouched) != cmp.Or(now, untouched) && (c.given == nil || !c.given(flag))
	}
	gateway := routefile.GatewayListener
	differs("listeners.gateway.address", moved("listen-gateway", was.Listeners[gateway].Address.HostPort,
		f.Listeners[gateway].Address.HostPort, def.ListenGateway))
	differs("control.address", moved("listen-control", was.Control.HostPort, f.Control.HostPort, def.ListenControl))
	differs("discovery.address", moved("listen-discovery", was.Discovery.Address.HostPort, f.Discovery.Address.HostPort, def.ListenDiscovery))
	differs("discovery.anonymous", was.Discovery.Anonymous != f.Discovery.Anonymous)
	differs("dashboard.anonymous", was.Dashboard.Anonymous != f.Dashboard.Anonymous)
	differs("limits", was.Limits != f.Limits)
	otlp, otlpWas := f.OTLP, was.OTLP
	otlp.Origin, otlpWas.Origin = route.Origin{}, route.Origin{}
	differs("otlp", otlp != otlpWas)
	return keys
}

// addConfig tells of the file, and of what of it is not in force.
func (a *App) addConfig(st *mesh.Status) {
	now := a.config.Load()
	if a.cfg.ConfigFile != "" {
		st.Config = mesh.ConfigStatus{Path: absolute(a.cfg.ConfigFile), State: now.state}
		if now.inForce != nil {
			st.Config.LoadedAt = now.inForce.at
		}
	}
	st.Alarms = append(st.Alarms, now.alarms...)
	if a.gateway == nil {
		return
	}
	alarm := func(detail string) {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: CodeConfig, Detail: detail})
	}
	_, refused := a.gateway.Routes()
	for _, r := range refused[:min(len(refused), mostTold)] {
		alarm(fmt.Sprintf("%s: %s %q is quarantined: %s", r.Origin, r.Kind, r.Name, r.Reason))
	}
	if more := len(refused) - mostTold; more > 0 {
		alarm(fmt.Sprintf("and %d more objects are quarantined; toska config check %s tells of all", more, a.cfg.ConfigFile))
	}
}
