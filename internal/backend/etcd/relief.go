package etcd

import (
	"context"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// reliefPause is how long a store that is half full keeps its history before it is cut again.
const reliefPause = time.Minute

// relief makes room in a store that nears its quota: it gives up history, then the free space inside the
// file, and takes back the alarm that the engine keeps across restarts. It is used by one goroutine.
type relief struct {
	e   *Engine
	log *slog.Logger
	// compacted is the revision before which the history was given up, and at is when.
	compacted int64
	at        time.Time
}

func (e *Engine) newRelief() *relief { return &relief{e: e, log: e.cfg.Log} }

// give makes room if need be.
func (r *relief) give(ctx context.Context) {
	size := r.e.space.size()
	full := size >= r.e.space.softLimit()
	if size < r.e.cfg.Quota/2 || !full && time.Since(r.at) < reliefPause {
		return
	}
	if now := r.e.server.Server.KV().Rev(); now != r.compacted {
		if !r.compact(ctx, now) {
			return
		}
	}
	if r.worthwhile() {
		r.defragment(ctx)
	}
	r.disarm(ctx)
}

// compact gives up the history before the revision.
func (r *relief) compact(ctx context.Context, rev int64) bool {
	if r.at.IsZero() {
		r.log.Warn("store nears its quota: its history is given up", slog.Int64("size", r.e.space.size()),
			slog.Int64("quota", r.e.cfg.Quota))
	}
	call, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	if _, err := r.e.client.Compact(call, rev, clientv3.WithCompactPhysical()); err != nil {
		r.log.Debug("store's history could not be given up", slog.Any("error", err))
		return false
	}
	// What is free now shows after the next write to the disk.
	r.e.server.Server.Backend().ForceCommit()
	r.compacted, r.at = rev, time.Now()
	return true
}

// worthwhile reports whether a smaller file would take writes for a while. Writing the file anew stops the
// store for as long as that takes, and needs space for both files.
func (r *relief) worthwhile() bool {
	b := r.e.server.Server.Backend()
	used := b.SizeInUse()
	if used > b.Size()-r.e.cfg.Quota/16 || used > r.e.space.softLimit()-r.e.cfg.Quota/16 {
		return false
	}
	free, err := freeSpace(r.e.cfg.Dir)
	return err != nil || free-used >= max(r.e.cfg.MinFree, 0)
}

// defragment writes the file anew, without what is free in it.
func (r *relief) defragment(ctx context.Context) {
	began, before := time.Now(), r.e.space.size()
	if ctx.Err() != nil {
		return
	}
	if err := r.e.server.Server.Backend().Defrag(); err != nil {
		r.log.Warn("store could not be made smaller", slog.Any("error", err))
		return
	}
	r.log.Info("store was made smaller", slog.Int64("before", before), slog.Int64("after", r.e.space.size()),
		slog.Duration("took", time.Since(began)))
}

// disarm takes the engine's alarm back once there is room.
func (r *relief) disarm(ctx context.Context) {
	if r.e.space.size() >= r.e.space.softLimit() {
		return
	}
	call, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	resp, err := r.e.client.AlarmList(call)
	if err != nil {
		r.log.Debug("store's alarms could not be read", slog.Any("error", err))
		return
	}
	for _, a := range resp.Alarms {
		if a.GetAlarm() != pb.AlarmType_NOSPACE {
			continue
		}
		if _, err := r.e.client.AlarmDisarm(call, &clientv3.AlarmMember{MemberID: a.MemberID, Alarm: a.Alarm}); err != nil {
			r.log.Warn("store's alarm could not be taken back", slog.Any("error", err))
			return
		}
		r.log.Info("store takes writes again")
	}
}
