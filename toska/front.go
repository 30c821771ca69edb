package toska

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/toska-mesh/toska-mesh/internal/signal/series"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// front stands before the service's handler: it answers the paths of the SDK, counts, and contains panics.
type front struct {
	member  *member
	next    http.Handler
	mux     *http.ServeMux // the service's own handler if it is one; nil otherwise
	bare    bool           // the service answers every path
	series  *series.Member
	metrics http.Handler
	log     *slog.Logger
}

func newFront(m *member, h http.Handler, bare bool) *front {
	f := &front{member: m, next: Continue(h), bare: bare, log: m.log.With("service", m.registration.Service)}
	f.mux, _ = h.(*http.ServeMux)
	f.series = series.NewMember(m.registration.Service, func() (bool, uint64) { return m.keeper.Standing() })
	f.metrics = promhttp.HandlerFor(f.series.Gatherer(), promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true, MaxRequestsInFlight: 4,
	})
	return f
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if own := f.own(r); own != nil {
		own(w, r)
		return
	}
	a := newReply(w)
	began := time.Now()
	f.series.Begin()
	defer func() { f.series.End(r.Method, a.code(), r.ProtoMajor, time.Since(began)) }()
	defer f.contain(a, r)
	f.next.ServeHTTP(a.writer(), r)
}

// own returns what answers a path of the SDK; nil if that is the service's own.
func (f *front) own(r *http.Request) http.HandlerFunc {
	if f.bare || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil
	}
	var serve http.HandlerFunc
	switch r.URL.Path {
	case "/health":
		serve = f.overall
	case "/health/live":
		serve = f.live
	case "/health/ready":
		serve = f.ready
	case "/metrics":
		serve = f.metrics.ServeHTTP
	default:
		return nil
	}
	if f.mux != nil {
		if _, pattern := f.mux.Handler(r); names(pattern, r.URL.Path) {
			return nil
		}
	}
	return serve
}

// names reports whether a pattern of a mux means the path: its first segment is that of the path, where /, a
// wildcard and another one take in everything.
func names(pattern, path string) bool {
	_, p, ok := strings.Cut(pattern, "/")
	first, _, _ := strings.Cut(p, "/")
	want, _, _ := strings.Cut(path[1:], "/")
	return ok && first == want
}

// contain turns a panic of the service's handler into an answer.
func (f *front) contain(a *reply, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // this is how a handler says that the connection is to be ended
	}
	f.log.Error("handler panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if a.begun() {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	http.Error(a, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

// healthBody is the answer of the health paths.
type healthBody struct {
	Status   string        `json:"status"`
	Service  string        `json:"service"`
	ID       string        `json:"id"`
	Duration float64       `json:"duration"`
	Checks   []healthCheck `json:"checks"`
}

type healthCheck struct {
	Name        string            `json:"name"`
	Status      string            `json:"status"`
	Duration    float64           `json:"duration"`
	Description string            `json:"description,omitempty"`
	Exception   string            `json:"exception,omitempty"`
	Data        map[string]string `json:"data"`
}

// The words of the health paths, from best to worst.
const (
	wordHealthy   = "Healthy"
	wordDegraded  = "Degraded"
	wordUnhealthy = "Unhealthy"
)

func (f *front) live(w http.ResponseWriter, r *http.Request) { f.tell(w, r, self()) }

// ready asks the service for its own word, unless serving alone is asked for (DefaultCheck).
func (f *front) ready(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("only") == "serving" {
		f.tell(w, r, f.serving())
		return
	}
	f.tell(w, r, f.serving(), f.service())
}

func (f *front) overall(w http.ResponseWriter, r *http.Request) {
	f.tell(w, r, self(), f.serving(), f.service(), f.tied())
}

func self() healthCheck { return healthCheck{Name: "self", Status: wordHealthy} }

// serving says whether the service still wants requests.
func (f *front) serving() healthCheck {
	if f.member.stopping.Load() {
		return healthCheck{Name: "serving", Status: wordUnhealthy, Description: "the service is stopping"}
	}
	return healthCheck{Name: "serving", Status: wordHealthy}
}

// service is the service's own word.
func (f *front) service() healthCheck {
	word := f.member.health.now()
	c := healthCheck{Name: "service", Status: wordHealthy, Duration: milliseconds(word.took)}
	switch word.Health {
	case mesh.Passing:
		return c
	case mesh.Degraded:
		c.Status = wordDegraded
	case mesh.Failing, mesh.Suspect:
		c.Status = wordUnhealthy
	}
	c.Exception = word.Output
	return c
}

// tied says whether the mesh knows of the service: a service out of the mesh works, and gets no requests from
// there.
func (f *front) tied() healthCheck {
	if tied, _ := f.member.keeper.Standing(); !tied {
		return healthCheck{Name: "mesh", Status: wordDegraded, Description: "the instance is not tied to the mesh"}
	}
	return healthCheck{Name: "mesh", Status: wordHealthy}
}

// tell writes the worst of the checks, and all of them.
func (f *front) tell(w http.ResponseWriter, r *http.Request, checks ...healthCheck) {
	b := healthBody{Status: wordHealthy, Service: f.member.registration.Service, ID: f.member.keeper.ID(), Checks: checks}
	for i := range checks {
		checks[i].Data = map[string]string{}
		b.Duration += checks[i].Duration
		if s := checks[i].Status; s == wordUnhealthy || s == wordDegraded && b.Status == wordHealthy {
			b.Status = s
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if b.Status == wordUnhealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if r.Method == http.MethodHead {
		return
	}
	_ = json.NewEncoder(w).Encode(b) // the asker may be gone
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
