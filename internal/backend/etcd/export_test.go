package etcd

import "log/slog"

// Tend lets tests look after the ballast of a directory at once.
func Tend(cfg Config, log *slog.Logger) { newSpace(cfg).tend(log) }
