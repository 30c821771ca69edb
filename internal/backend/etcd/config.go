package etcd

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

const (
	// soloTick and soloElection are the engine's clock while it is alone: nobody else can be asked, so
	// it elects itself at once.
	soloTick     = 20
	soloElection = 100
	// segmentBytes is what each segment of the write-ahead log takes in advance.
	segmentBytes = 8 << 20
	// soloPeer stands for an address in the member list. Nothing listens there and nobody dials it.
	soloPeer = "http://127.0.0.1:0"
)

// Config is how an embedded engine runs. Zero fields mean the default.
type Config struct {
	// Dir is the engine's directory, made if it is not there; required.
	Dir string
	// Log may be nil.
	Log *slog.Logger
	// MinFree is how much space the disk must have for writes to be accepted, by default 64 MiB;
	// negative for no guard.
	MinFree int64
	// Ballast is the size of a file that is given up when the disk is nearly full, so that the engine
	// can finish what it has begun, by default 16 MiB; negative for none.
	Ballast int64
	// History is how long past revisions are kept, by default 24 h.
	History time.Duration
	// Quota is the most that the store may grow to, by default 2 GiB. From half of it on history is given
	// up early, and from three quarters on nothing new is taken.
	Quota int64
}

// DefaultConfig returns the configuration with every default filled in.
func DefaultConfig(dir string) Config {
	return Config{Dir: dir, MinFree: 64 << 20, Ballast: 16 << 20, History: 24 * time.Hour, Quota: 2 << 30}
}

func (c Config) filled() (Config, error) {
	d := DefaultConfig(c.Dir)
	if c.Dir == "" {
		return c, errors.New("the store's directory is not named")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MinFree == 0 {
		c.MinFree = d.MinFree
	}
	if c.Ballast == 0 {
		c.Ballast = d.Ballast
	}
	if c.History == 0 {
		c.History = d.History
	}
	if c.Quota == 0 {
		c.Quota = d.Quota
	}
	if c.History < 0 || c.Quota < 0 {
		return c, fmt.Errorf("history %s and quota %d must not be negative", c.History, c.Quota)
	}
	return c, nil
}

// setSegmentSize changes the one setting of the engine that it keeps in a variable.
var setSegmentSize = sync.OnceFunc(func() { wal.SegmentSizeBytes = segmentBytes })

// embedConfig translates the configuration for the engine.
func (c Config) embedConfig(log *zap.Logger) (*embed.Config, error) {
	peer, err := url.Parse(soloPeer)
	if err != nil {
		return nil, err
	}
	ec := embed.NewConfig()
	ec.Name = "toska"
	ec.Dir = c.Dir
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, nil
	ec.ListenPeerUrls = nil
	ec.AdvertisePeerUrls = []url.URL{*peer}
	ec.InitialCluster = ec.Name + "=" + soloPeer
	ec.TickMs, ec.ElectionMs = soloTick, soloElection
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = c.History.String()
	ec.QuotaBackendBytes = c.Quota
	ec.LogOutputs = []string{"/dev/null"}
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	ec.GRPCAdditionalServerOptions = nil
	return ec, nil
}
