package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// CodeAccessLog is an access log that loses lines, or goes elsewhere than it should.
const CodeAccessLog = "TOSKA-ACCESS-LOG"

// lossTold is how long an alarm tells of a line that was lost.
const lossTold = time.Minute

// openAccessLog opens the access log where the flag or the file says. It is there even if it goes nowhere: a
// reload may say where.
func (a *App) openAccessLog() error {
	out, err := a.openLog(a.cfg.AccessLog)
	if err != nil {
		return fmt.Errorf("%w; --access-log PATH chooses another, off writes none", err)
	}
	a.access, a.accessTo = accesslog.New(out), a.cfg.AccessLog
	a.closers = append(a.closers, a.access)
	return a.access.Configure(logSettings(a.cfg.File))
}

// openLog opens a place for lines: a file, standard output, or nil for nowhere.
func (a *App) openLog(to string) (io.Writer, error) {
	switch to {
	case routefile.AccessLogOff, "":
		return nil, nil
	case routefile.AccessLogStdout, "stdout":
		return struct{ io.Writer }{a.cfg.Stdout}, nil // which is not ours to close
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the access log: %w", err)
	}
	return f, nil
}

func logSettings(f *routefile.File) accesslog.Settings {
	if f == nil || f.AccessLog.Settings == nil {
		return accesslog.DefaultSettings()
	}
	return *f.AccessLog.Settings
}

// configureLog puts what the file says of the access log in force. Where a flag says where it goes, the file
// does not.
func (a *App) configureLog(log *slog.Logger, f *routefile.File) {
	if err := a.access.Configure(logSettings(f)); err != nil {
		log.Error("access log keeps its format", "error", err) // the file's reader takes no such thing
	}
	to := a.accessTo
	if !a.cfg.accessLogGiven {
		to = cmp.Or(f.AccessLog.File, DefaultConfig().AccessLog)
	}
	if to != a.accessTo {
		a.redirectLog(log, to)
	}
}

// reopenLog opens the access log anew: who rotates it has moved the file away.
func (a *App) reopenLog(log *slog.Logger) { a.redirectLog(log, a.accessTo) }

// redirectLog has the lines go elsewhere. Where that cannot be opened, they go on as before.
func (a *App) redirectLog(log *slog.Logger, to string) {
	out, err := a.openLog(to)
	if err != nil {
		detail := err.Error() + "; its lines go where they went before"
		a.accessAlarm.Store(&detail)
		log.Error("access log cannot be opened, its lines go where they went before", "file", to, "error", err)
		return
	}
	a.accessTo = to
	a.accessAlarm.Store(nil)
	a.access.Redirect(out)
}

// followRotation opens the access log anew when it is asked to, in a node without a configuration file. With
// one, whoever follows that does it.
func (a *App) followRotation(ctx context.Context, ready func()) error {
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.cfg.Reload:
			a.reopenLog(a.log("access log"))
		}
	}
}

// addAccessLog tells of lines that are lost.
func (a *App) addAccessLog(st *mesh.Status) {
	alarm := func(detail string) {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: CodeAccessLog, Detail: detail})
	}
	if detail := a.accessAlarm.Load(); detail != nil {
		alarm(*detail)
	}
	if last := a.access.LastDrop(); time.Since(last) < lossTold {
		alarm(fmt.Sprintf("%d lines of the access log were lost, the last at %s: what it is written to is full, or slower than the requests",
			a.access.Dropped(), last.UTC().Format(time.RFC3339)))
	}
}
