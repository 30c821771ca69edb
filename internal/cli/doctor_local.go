package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/internal/util/openfiles"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// roomy is how many times the least free space a disk should have.
	roomy = 8
	// The open files that a node needs for little traffic, and for much: two for each request in flight.
	fewFiles, manyFiles = 256, 4096
	// busyFiles is the share of the limit, in percent, at which a node is about to run out.
	busyFiles = 80
	// clockSlack is how far clocks may be apart before it is worth a word.
	clockSlack = 2 * time.Minute
)

// data looks at a data directory, its secrets and its disk.
func (c *checkup) data(dir string) {
	st, err := c.env.Machine.Data(dir)
	if err != nil {
		c.fail("data", "name another one with --data", "%s: %v", dir, err)
		return
	}
	for _, p := range st.Problems {
		area := "data"
		if e, ok := errors.AsType[*mesh.Error](p); ok {
			c.fail(area, "toska help "+e.Code, "%v", p)
			continue
		}
		c.fail(area, "", "%v", p)
	}
	switch {
	case len(st.Problems) > 0:
	case !st.Exists:
		c.ok("data", "%s is not there yet; the first start makes it", st.Path)
	case st.Held && st.Holder != "":
		c.ok("data", "%s is in use by %s", st.Path, st.Holder)
	case st.Held:
		c.ok("data", "%s is in use by a process that does not say which", st.Path)
	default:
		c.ok("data", "%s is in order, and no node uses it", st.Path)
	}
	c.disk(st)
	c.dates(st)
}

func (c *checkup) disk(st app.DataState) {
	place := existing(st.Path)
	free, err := c.env.Machine.FreeSpace(place)
	least := app.LeastFree()
	switch {
	case err != nil:
		c.warn("disk", "", "the free space at %s is not known: %v", place, err)
	case free < least:
		c.fail("disk", "free some space, or move the data directory to another disk",
			"%d MiB free at %s; under %d MiB the store takes no writes", free>>20, place, least>>20)
	case free < roomy*least:
		c.warn("disk", "free some space before the store stops taking writes",
			"%d MiB free at %s; under %d MiB the store takes no writes", free>>20, place, least>>20)
	default:
		c.ok("disk", "%d MiB free at %s", free>>20, place)
	}
}

// existing returns the nearest directory at or above path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// dates finds a clock that was turned back: files of the data directory that are not written yet.
func (c *checkup) dates(st app.DataState) {
	entries, err := os.ReadDir(st.Path)
	if err != nil {
		return // told of already, or not there yet
	}
	now := c.env.Machine.Now()
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Sub(now) > clockSlack {
			c.warn("clock", "set the clock, by NTP for example; leases do not depend on it, times in logs and records do",
				"%s was written %v in the future: the clock has been turned back", filepath.Join(st.Path, e.Name()),
				info.ModTime().Sub(now).Round(time.Second))
			return
		}
	}
}

// config looks at the configuration file beside a data directory that a node started there would take, and
// returns where it would listen.
func (c *checkup) config(dir string) listenAddresses {
	def := app.DefaultConfig()
	addrs := listenAddresses{gateway: def.ListenGateway, control: def.ListenControl, discovery: def.ListenDiscovery}
	path := app.FindConfig(dir)
	if path == "" {
		c.ok("config", "there is no %s; a node takes one that is made", app.ConfigBeside(dir))
		return addrs
	}
	text, err := app.ReadConfigFile(path)
	if err != nil {
		c.fail("config", "name a plain file that can be read", "%v", err)
		return addrs
	}
	f, problems := routefile.Parse(path, text)
	toDo := "toska config check " + path
	for _, p := range problems[:min(len(problems), mostMistakes)] {
		if p.Fatal {
			c.fail("config", toDo, "%s; a node does not take the file", p)
		} else {
			c.warn("config", toDo, "%s; it is out of force", p)
		}
	}
	if more := len(problems) - mostMistakes; more > 0 {
		c.warn("config", toDo, "%s has %d more mistakes", path, more)
	}
	if f == nil {
		return addrs
	}
	if len(problems) == 0 {
		c.ok("config", "%s is in order: %s, %s", path, count(len(f.Set.Services), "service"), count(len(f.Set.Routes), "route"))
	}
	addrs.file = path
	addrs.gateway = cmp.Or(f.Listeners[routefile.GatewayListener].Address.HostPort, addrs.gateway)
	addrs.control = cmp.Or(f.Control.HostPort, addrs.control)
	addrs.discovery = cmp.Or(f.Discovery.Address.HostPort, addrs.discovery)
	return addrs
}

// mostMistakes is how many of one file are told one by one.
const mostMistakes = 10

// listenAddresses are where a node would listen without a flag that says otherwise.
type listenAddresses struct {
	gateway, control, discovery string
	// file is what says so; empty for the defaults.
	file string
}

// freePorts tells whether a node could listen there.
func (c *checkup) freePorts(ctx context.Context, at listenAddresses) {
	whose := "the default of"
	if at.file != "" {
		whose = "by default or " + at.file + " that of"
	}
	for _, l := range []struct{ name, addr string }{
		{"gateway", at.gateway}, {"control", at.control}, {"discovery", at.discovery},
	} {
		holder, err := c.env.Machine.Taken(ctx, l.addr)
		switch {
		case err != nil:
			c.fail("ports", "choose another address with --listen-"+l.name, "%s cannot listen on %s: %v", l.name, l.addr, err)
		case holder != "":
			c.warn("ports", "stop it, or start the node with --listen-"+l.name+" HOST:PORT",
				"%s, %s %s, is taken by %s", l.addr, whose, l.name, holder)
		default:
			c.ok("ports", "%s is free for %s", l.addr, l.name)
		}
	}
}

// openFiles judges the limit of a process, or of one to come for a pid of zero.
func (c *checkup) openFiles(pid int, who string) {
	open, most, err := c.env.Machine.OpenFiles(pid)
	raise := `raise it with "ulimit -n 65536" in the shell that starts the node, or LimitNOFILE=65536 in its systemd unit`
	switch {
	case errors.Is(err, openfiles.ErrUnknown) && pid == 0:
		c.ok("files", "this system sets no limit of open files that could be asked for")
	case err != nil:
		// Another user's process, another system: nothing to say, and nothing wrong with it.
	case most < fewFiles:
		c.fail("files", raise, "%s may have %d files and sockets open: too few to serve with", who, most)
	case most < manyFiles:
		c.warn("files", raise, "%s may have %d files and sockets open: enough for about %d requests at once", who, most, most/3)
	case open*100 > most*busyFiles:
		c.warn("files", raise, "%s has %d of %d files and sockets open", who, open, most)
	default:
		c.ok("files", "%s may have %d files and sockets open%s", who, most, inUse(open))
	}
}

// clock finds one that was never set.
func (c *checkup) clock() {
	now := c.env.Machine.Now()
	if now.Year() < 2025 {
		c.fail("clock", "set the clock, by NTP for example", "the clock says %s", now.UTC().Format(time.RFC3339))
		return
	}
	c.ok("clock", "the clock says %s", now.UTC().Format(time.RFC3339))
}
