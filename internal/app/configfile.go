package app

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/backend/file"
	"github.com/toska-mesh/toska-mesh/internal/backend/otel"
	"github.com/toska-mesh/toska-mesh/internal/traffic/route"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Codes of a configuration file.
const (
	// CodeConfig is a file, or a part of it, that is not taken.
	CodeConfig = "TOSKA-CONFIG-INVALID"
	// CodeConfigPending is a change that takes effect at the next start.
	CodeConfigPending = "TOSKA-CONFIG-PENDING"
)

// mostTold is how many quarantined objects, mistakes and names are told of one by one in the log and in the
// alarms.
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

// reading is what one look at a configuration file found. It is immutable.
type reading struct {
	text []byte
	at   time.Time
	// file is nil with an error
	file     *routefile.File
	problems routefile.Problems
	err      error
}

// look reads a configuration file. The problems are those of single objects, which are quarantined; an error is
// a file that cannot be taken at all.
func look(path string) *reading {
	text, err := ReadConfigFile(path)
	if err != nil {
		kind := mesh.ErrInvalid
		if errors.Is(err, fs.ErrNotExist) {
			kind = mesh.ErrNotFound
		}
		return &reading{err: &mesh.Error{Kind: kind, Code: CodeConfig, Detail: err.Error(), Cause: err}}
	}
	return parse(path, text, time.Now())
}

func parse(path string, text []byte, at time.Time) *reading {
	r := &reading{text: text, at: at}
	r.file, r.problems = routefile.Parse(path, text)
	if r.file != nil {
		placeFiles(r.file, filepath.Dir(path))
	}
	if err := r.problems.Err(); err != nil {
		r.err = &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeConfig, Detail: err.Error()}
	}
	return r
}

// empty is what is left of a file that is just being written.
func (r *reading) empty() bool { return len(bytes.TrimSpace(r.text)) == 0 }

// refuseEmpty refuses a file without a word in the place of one with words: nobody empties a file to take
// everything out of force.
func (r *reading) refuseEmpty(path string) {
	r.file, r.err = nil, &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeConfig, Detail: path +
		": is empty; a file that is to say nothing holds a comment"}
}

// mistakes are why the file is not taken, each a sentence with its place.
func (r *reading) mistakes() []string {
	var out []string
	for _, p := range r.problems {
		if p.Fatal && len(out) < mostTold {
			out = append(out, p.String())
		}
	}
	if len(out) == 0 && r.err != nil {
		out = append(out, r.err.Error())
	}
	return out
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
// given tells of flags by name, those included for which the environment speaks. Where the file cannot be taken,
// the last one of its name that could be is, if the data directory has it: a node that has run starts again.
func (c *Config) UseFile(path string, given func(flag string) bool) error {
	c.ConfigFile, c.given, c.stamp = path, given, stamp(path)
	r := look(path)
	if r.err != nil || r.empty() {
		last, err := c.lastGood(path)
		if err != nil {
			c.Log.Warn("last good configuration cannot be used", "error", err)
		}
		if last != nil && r.err == nil && !last.empty() {
			r.refuseEmpty(path)
		}
		if r.err != nil && last == nil {
			return r.err
		}
		if r.err != nil {
			for _, m := range r.mistakes() {
				c.Log.Warn("configuration is not taken, the last good one is in force", "file", path, "problem", m, "from", last.at)
			}
			c.refused, r = r, last
		}
	}
	tellProblems(c.Log, path, r.problems)
	c.start, c.File = r, r.file
	f, def := r.file, DefaultConfig()
	take := func(flag, value, untouched string, to *string) {
		if value != "" && !given(flag) && *to == untouched {
			*to = value
		}
	}
	take("listen-gateway", f.Listeners[routefile.GatewayListener].Address.HostPort, def.ListenGateway, &c.ListenGateway)
	take("listen-gateway-tls", f.Listeners[routefile.GatewayTLSListener].Address.HostPort, def.ListenGatewayTLS, &c.ListenGatewayTLS)
	take("listen-control", f.Control.HostPort, def.ListenControl, &c.ListenControl)
	take("listen-discovery", f.Discovery.Address.HostPort, def.ListenDiscovery, &c.ListenDiscovery)
	take("access-log", f.AccessLog.File, def.AccessLog, &c.AccessLog)
	c.accessLogGiven = given("access-log")
	if f.OTLP.Endpoint != "" {
		ratio := f.OTLP.Ratio
		c.Spans = otel.Config{Endpoint: f.OTLP.Endpoint, Protocol: f.OTLP.Protocol, Insecure: f.OTLP.Insecure, Ratio: &ratio}
	}
	return nil
}

// WatchFile takes the configuration file at path into force when there is one, which is not the case now. given
// is that of UseFile.
func (c *Config) WatchFile(path string, given func(flag string) bool) {
	c.ConfigFile, c.given = path, given
	if last, err := c.lastGood(path); err == nil && last != nil {
		c.Log.Warn("configuration file is gone, and what it said with it", "file", path,
			"routes", len(last.file.Set.Routes), "services", len(last.file.Set.Services))
	}
}

// lastGood returns the last text of the file that was taken; nil if none was kept.
func (c *Config) lastGood(path string) (*reading, error) {
	if c.Memory != nil {
		return nil, nil
	}
	text, at, ok, err := file.ConfigIn(c.DataDir).Load(absolute(path))
	if err != nil || !ok {
		return nil, err
	}
	r := parse(path, text, at)
	if r.err != nil {
		return nil, r.err
	}
	return r, nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
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
	a.trustServices(set.Services)
	return &set
}

// anonymous reports whether the family's surface is open to everybody.
func (a *App) anonymous() bool { return a.cfg.File != nil && a.cfg.File.Discovery.Anonymous }

// ConfigBeside returns where the configuration file of a data directory is, or would be.
func ConfigBeside(dataDir string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(dataDir)), "mesh.yaml")
}

// openDashboard reports whether the dashboard's paths and the series are open to everybody on the gateway's port.
func (a *App) openDashboard() bool { return a.cfg.File != nil && a.cfg.File.Dashboard.Anonymous }

// FindConfig returns the configuration file beside a data directory, or empty.
func FindConfig(dataDir string) string {
	path := ConfigBeside(dataDir)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return path
}
