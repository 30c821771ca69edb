package etcd

import (
	"log/slog"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
)

// Tend lets tests look after the ballast of a directory at once.
func Tend(cfg Config, log *slog.Logger) { newSpace(cfg).tend(log) }

// Alarmed reports whether the engine has raised an alarm.
func (e *Engine) Alarmed(t *testing.T) bool {
	t.Helper()
	resp, err := e.client.AlarmList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(resp.Alarms) > 0
}

// RaiseAlarm raises the alarm that the engine raises at its quota.
func (e *Engine) RaiseAlarm(t *testing.T) {
	t.Helper()
	if _, err := e.server.Server.Alarm(t.Context(), &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE,
		MemberID: uint64(e.server.Server.MemberID()), Alarm: pb.AlarmType_NOSPACE}); err != nil {
		t.Fatal(err)
	}
}

// Warn lets the engine log a warning, during its start or after it.
func Warn(log *slog.Logger, started bool, event string, err error) {
	b := newBridge(log, func(error) {})
	if started {
		b.settled()
	}
	var fields []zap.Field
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	b.logger().Warn(event, fields...)
}
