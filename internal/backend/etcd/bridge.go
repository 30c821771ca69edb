package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge carries the engine's log to slog, and its fatal and panic entries to fail instead of to the
// end of the process.
type bridge struct {
	log  *slog.Logger
	fail func(error)
	// closing is set at an orderly close, whose complaints are dropped.
	closing atomic.Bool
	// started is set when the start is over, during which slowness means nothing.
	started atomic.Bool
}

// chatter are complaints that mean nothing on an engine without listeners, or in its first moments.
var chatter = [...]string{
	"Failed to detect schema version",
	"Failed to detect storage schema version",
	"failed to update storage version",
	"Running http and grpc server on single port",
	"simple token is not cryptographically signed",
	"it isn't recommended to use default name",
}

// startChatter are complaints that mean something, but not during the start: the engine elects itself then.
var startChatter = [...]string{
	"apply request took too long",
	"waiting for ReadIndex response took too long",
}

func newBridge(log *slog.Logger, fail func(error)) *bridge {
	return &bridge{log: log, fail: fail}
}

// quiet drops what the engine says from now on, but for failures.
func (b *bridge) quiet() { b.closing.Store(true) }

// settled ends the start.
func (b *bridge) settled() { b.started.Store(true) }

func (b *bridge) logger() *zap.Logger {
	return zap.New(&core{bridge: b}, zap.WithFatalHook(ending{b}), zap.WithPanicHook(ending{b}),
		zap.ErrorOutput(zapcore.AddSync(discard{})))
}

// ending is the hook that runs after a fatal or panic entry was written. It ends the goroutine that
// cannot go on.
type ending struct{ bridge *bridge }

// OnWrite is part of zapcore.CheckWriteHook.
func (h ending) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	h.bridge.fail(cause(ce.Message, fields))
	runtime.Goexit()
}

// cause joins an entry's message and its error.
func cause(message string, fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return fmt.Errorf("%s: %w", message, err)
		}
	}
	return errors.New(message)
}

// core is the zapcore.Core that writes to slog.
type core struct {
	bridge *bridge
	with   []slog.Attr
}

// level translates a level. The engine's everyday information is for debugging here.
func level(l zapcore.Level) slog.Level {
	switch l {
	case zapcore.WarnLevel:
		return slog.LevelWarn
	case zapcore.ErrorLevel, zapcore.DPanicLevel, zapcore.PanicLevel, zapcore.FatalLevel:
		return slog.LevelError
	case zapcore.DebugLevel, zapcore.InfoLevel, zapcore.InvalidLevel:
	}
	return slog.LevelDebug
}

// Enabled is part of zapcore.Core.
func (c *core) Enabled(l zapcore.Level) bool {
	return l != zapcore.DebugLevel && c.bridge.log.Enabled(context.Background(), level(l))
}

// With is part of zapcore.Core.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{bridge: c.bridge, with: append(slices.Clip(c.with), attrs(fields)...)}
}

// Check is part of zapcore.Core.
func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && !c.drops(e) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) drops(e zapcore.Entry) bool {
	if c.bridge.closing.Load() {
		return true
	}
	begins := func(prefix string) bool { return strings.HasPrefix(e.Message, prefix) }
	return slices.ContainsFunc(chatter[:], begins) || !c.bridge.started.Load() && slices.ContainsFunc(startChatter[:], begins)
}

// Write is part of zapcore.Core.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Level == zapcore.WarnLevel && !c.bridge.started.Load() &&
		strings.Contains(cause(e.Message, fields).Error(), rpctypes.ErrLeaderChanged.Error()) {
		return nil
	}
	all := append([]slog.Attr{slog.String("event", e.Message)}, c.with...)
	c.bridge.log.LogAttrs(context.Background(), level(e.Level), "store engine", append(all, attrs(fields)...)...)
	return nil
}

// Sync is part of zapcore.Core.
func (c *core) Sync() error { return nil }

// attrs translates fields. Only those of interest are worth the encoder's work.
func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]slog.Attr, 0, len(enc.Fields))
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}

// discard takes the logger's own complaints.
type discard struct{}

// Write is part of io.Writer.
func (discard) Write(p []byte) (int, error) { return len(p), nil }
