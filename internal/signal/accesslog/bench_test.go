package accesslog_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/signal/accesslog"
)

// What a line costs whoever writes it, with the one who takes it at no cost: every writer on a lane of its own,
// and all on one.
func BenchmarkWrite(b *testing.B) {
	for _, bm := range []struct {
		name   string
		lanes  int32
		format accesslog.Format
	}{{"a lane each", 1 << 20, accesslog.JSON}, {"one lane", 1, accesslog.JSON}, {"combined", 1 << 20, accesslog.Combined}} {
		b.Run(bm.name, func(b *testing.B) {
			l := accesslog.New(io.Discard)
			if err := l.Configure(accesslog.Settings{Format: bm.format, Sample: 1}); err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := run(ctx, l)
			var writers atomic.Int32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				line := fullLine()
				line.Lane = int(writers.Add(1) % bm.lanes)
				for pb.Next() {
					l.Write(line)
				}
			})
			stop()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
