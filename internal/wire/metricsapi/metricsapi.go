// Package metricsapi serves a node's series to scrapers, and profiles of the process to its operator.
//
// # Concurrency
//
// Everything is safe for concurrent use once it is mounted; mounting is not.
package metricsapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

// Path is where the series are.
const Path = "/metrics"

// maxScrapes bounds the scrapes at one time: each gathers everything.
const maxScrapes = 4

// Mount adds the series at Path, for every caller that may read, or for everybody if anonymous callers are
// admitted. A series that cannot be gathered is logged and left out.
func Mount(mux *http.ServeMux, series prometheus.Gatherer, anonymous bool, log *slog.Logger) {
	scrape := promhttp.HandlerFor(series, promhttp.HandlerOpts{
		ErrorLog: scrapeLog{log}, ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
	})
	if anonymous {
		mux.Handle("GET "+Path, scrape)
		return
	}
	mux.Handle("GET "+Path, guarded(httpapi.MayRead, scrape))
}

// scrapeLog takes the errors of gathering.
type scrapeLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) { l.log.Warn("series could not be gathered", "error", v) }

// MountProfiles adds the profiles of the process under /debug/pprof/, for the admin alone: they hold
// command lines and stacks, and taking them costs.
func MountProfiles(mux *http.ServeMux) {
	for pattern, serve := range map[string]http.HandlerFunc{
		"GET /debug/pprof/":        pprof.Index,
		"GET /debug/pprof/cmdline": pprof.Cmdline,
		"GET /debug/pprof/profile": pprof.Profile,
		"GET /debug/pprof/symbol":  pprof.Symbol,
		"POST /debug/pprof/symbol": pprof.Symbol,
		"GET /debug/pprof/trace":   pprof.Trace,
	} {
		mux.Handle(pattern, guarded(httpapi.MayAdmin, serve))
	}
}

func guarded(may func(context.Context) error, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := may(r.Context()); err != nil {
			httpapi.WriteProblem(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}
