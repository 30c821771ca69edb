package dashboardapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Liveness knows when an instance was last heard of.
type Liveness interface {
	// LastHeard is false for an instance that was not heard by this node.
	LastHeard(id string) (time.Time, bool)
}

// Options are the rare things of the handlers.
type Options struct {
	// Liveness may be nil: nobody was heard then.
	Liveness Liveness
	// Probing tells of the node's probes; nil for a node that makes none.
	Probing mesh.Probing
	// Anonymous opens the paths to callers without a token, wherever they are. Without it those need
	// one, unless the listener is loopback.
	Anonymous bool
	// Log takes failures of the node's own; nil for none.
	Log *slog.Logger
}

// Mount adds /api/dashboard/services, /api/dashboard/health, /api/status and /api/status/{serviceName} to
// mux, for GET and HEAD, over d. They are in lower case: httpapi.Handler serves them in any.
func Mount(mux *http.ServeMux, d mesh.Discovery, opt Options) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{d: d, opt: opt}
	mux.HandleFunc("GET /api/dashboard/services", h.serve(h.catalog))
	mux.HandleFunc("GET /api/dashboard/health", h.serve(h.monitored))
	mux.HandleFunc("GET /api/status", h.serve(h.monitored))
	mux.HandleFunc("GET /api/status/{serviceName}", h.serve(h.monitored))
}

type handler struct {
	d   mesh.Discovery
	opt Options
}

func (h *handler) may(ctx context.Context) error {
	if h.opt.Anonymous {
		return nil
	}
	return httpapi.MayRead(ctx)
}

// serve admits the caller and writes what f makes of the current snapshot.
func (h *handler) serve(f func(*http.Request, *mesh.Snapshot) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h.may(r.Context())
		var s *mesh.Snapshot
		if err == nil {
			s, err = h.d.Snapshot(r.Context())
		}
		if err != nil {
			if httpapi.Internal(err) {
				h.opt.Log.ErrorContext(r.Context(), "dashboard request failed", "path", r.URL.Path,
					"request_id", httpapi.RequestID(r.Context()), "error", err)
			}
			httpapi.WriteProblem(w, r, err)
			return
		}
		writeJSON(w, f(r, s))
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("dashboardapi: an answer always has a JSON form: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// The client is gone if this fails.
	_, _ = w.Write(body)
}

// probes are those of a service, or of all, by instance. They tell more of what the snapshot says already:
// a node that does not probe now answers all the same.
func (h *handler) probes(ctx context.Context, service string) map[string]*mesh.ProbeStatus {
	if h.opt.Probing == nil {
		return nil
	}
	list, err := h.opt.Probing.Probes(ctx, service)
	if err != nil {
		return nil
	}
	out := make(map[string]*mesh.ProbeStatus, len(list))
	for i := range list {
		out[list[i].ID] = &list[i]
	}
	return out
}

func (h *handler) catalog(r *http.Request, s *mesh.Snapshot) any {
	probes := h.probes(r.Context(), "")
	out := make([]catalogItem, 0, len(s.Services))
	now := ticks(time.Now())
	for _, key := range serviceKeys(s) {
		list := s.Services[key]
		item := catalogItem{ServiceName: list[0].Service, Metadata: summarize(list, now)}
		for _, i := range list {
			item.Instances = append(item.Instances, h.instance(i))
			item.Health = append(item.Health, monitor(i, probes[i.ID]))
		}
		out = append(out, item)
	}
	return out
}

// monitored is of all services, or of the one that the path names, in any case.
func (h *handler) monitored(r *http.Request, s *mesh.Snapshot) any {
	keys, name := serviceKeys(s), r.PathValue("serviceName")
	if name != "" {
		keys = []string{mesh.ServiceKey(name)}
	}
	probes := h.probes(r.Context(), name)
	out := []monitoredInstance{}
	for _, key := range keys {
		for _, i := range s.Services[key] {
			out = append(out, monitor(i, probes[i.ID]))
		}
	}
	return out
}

// serviceKeys leaves out the registry that the family's own implementation ran on, and is sorted.
func serviceKeys(s *mesh.Snapshot) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.Services)), func(key string) bool { return key == "consul" })
}
