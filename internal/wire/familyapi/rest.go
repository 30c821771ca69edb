package familyapi

import (
	"errors"
	"log/slog"
	"net/http"

	familyv1 "github.com/toska-mesh/toska-mesh/api/family/discovery/v1"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// The paths of the two controllers, in the lower case in which they are mounted.
const (
	discoveryPath    = "/api/servicediscovery"
	registrationPath = "/api/serviceregistration"
)

// rest answers over the same handler as the gRPC service.
type rest struct {
	*handler
	metadata mesh.MetadataEditor
	probing  mesh.Probing
	log      *slog.Logger
}

// answer is what a REST handler says when nothing went wrong.
type answer struct {
	data    any
	message string
}

func mountREST(mux *http.ServeMux, h *handler, opt Options) {
	r := &rest{handler: h, metadata: opt.Metadata, probing: opt.Probing, log: opt.Log}
	handle := func(pattern string, f func(*http.Request) (answer, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			req.Body = http.MaxBytesReader(w, req.Body, httpapi.MaxBody)
			r.serve(w, req, f)
		})
	}
	handle("GET "+discoveryPath+"/services", r.listServices)
	handle("GET "+discoveryPath+"/services/{serviceName}/instances", r.listInstances)
	handle("GET "+discoveryPath+"/services/{serviceName}/instances/healthy", r.listHealthy)
	handle("GET "+discoveryPath+"/services/{serviceName}/metadata", r.summary)
	handle("GET "+discoveryPath+"/instances/{serviceId}", r.one)
	handle("POST "+registrationPath+"/register", r.register)
	handle("POST "+registrationPath+"/deregister/{serviceId}", r.deregister)
	handle("POST "+registrationPath+"/health/{serviceId}", r.reportHealth)
	if opt.Metadata != nil {
		handle("POST "+registrationPath+"/metadata/{serviceId}", r.setMetadata)
	}
	if opt.Probing != nil {
		handle("POST "+registrationPath+"/health/check/{serviceId}", r.check)
	}
}

// serve admits the caller and puts what f says into the envelope.
func (r *rest) serve(w http.ResponseWriter, req *http.Request, f func(*http.Request) (answer, error)) {
	err := httpapi.MayUseFamily(req.Context())
	var a answer
	if err == nil {
		a, err = f(req)
	}
	if err == nil {
		writeJSON(w, http.StatusOK, mediaJSON, succeeded(a))
		return
	}
	if !errors.As(err, new(*unreadable)) && httpapi.Internal(err) {
		r.log.ErrorContext(req.Context(), "family request failed", "path", req.URL.Path,
			"request_id", httpapi.RequestID(req.Context()), "error", err)
	}
	writeError(w, req, err)
}

func (r *rest) listServices(req *http.Request) (answer, error) {
	s, err := r.d.Snapshot(req.Context())
	if err != nil {
		return answer{}, err
	}
	return answer{data: serviceNames(s)}, nil
}

// instancesOf returns the instances of the service that the path names, in any case; none for one that
// is not known.
func (r *rest) instancesOf(req *http.Request) ([]*mesh.Instance, error) {
	s, err := r.d.Snapshot(req.Context())
	if err != nil {
		return nil, err
	}
	return s.Services[mesh.ServiceKey(req.PathValue("serviceName"))], nil
}

func (r *rest) listInstances(req *http.Request) (answer, error) {
	list, err := r.instancesOf(req)
	if err != nil {
		return answer{}, err
	}
	out := make([]instanceView, 0, len(list))
	for _, i := range list {
		out = append(out, r.view(i))
	}
	return answer{data: out}, nil
}

func (r *rest) listHealthy(req *http.Request) (answer, error) {
	list, err := r.instancesOf(req)
	if err != nil {
		return answer{}, err
	}
	out := make([]instanceView, 0, len(list))
	for _, i := range list {
		if status(i) == familyv1.HealthStatus_HEALTH_STATUS_HEALTHY {
			out = append(out, r.view(i))
		}
	}
	return answer{data: out}, nil
}

func (r *rest) summary(req *http.Request) (answer, error) {
	list, err := r.instancesOf(req)
	if err != nil {
		return answer{}, err
	}
	return answer{data: summarize(req.PathValue("serviceName"), list)}, nil
}

func (r *rest) one(req *http.Request) (answer, error) {
	i, err := r.d.Instance(req.Context(), req.PathValue("serviceId"))
	if err != nil {
		return answer{}, err
	}
	return answer{data: r.view(&i)}, nil
}

func (r *rest) register(req *http.Request) (answer, error) {
	w, err := readRegistration(req)
	if err != nil {
		return answer{}, err
	}
	i, err := r.d.Register(req.Context(), w.registration())
	if err != nil {
		return answer{}, err
	}
	return answer{data: r.view(&i), message: "Service registered successfully"}, nil
}

func (r *rest) deregister(req *http.Request) (answer, error) {
	err := r.d.Deregister(req.Context(), mesh.Ref{ID: req.PathValue("serviceId")})
	return answer{message: "Service deregistered successfully"}, err
}

// reportHealth renews with every report, as the gRPC call does.
func (r *rest) reportHealth(req *http.Request) (answer, error) {
	s, output, err := readHealth(req)
	if err != nil {
		return answer{}, err
	}
	return answer{message: "Health status updated"}, r.report(req.Context(), req.PathValue("serviceId"), s, output)
}

// check probes at once and answers with the instance. Its status follows the probes when their threshold is
// reached, as it always does. One without a check has nothing to be asked: it reports by itself.
func (r *rest) check(req *http.Request) (answer, error) {
	id := req.PathValue("serviceId")
	st, err := r.probing.ProbeNow(req.Context(), id)
	said := "The instance has no check and was not probed"
	switch {
	case errors.Is(err, mesh.ErrInvalid):
	case err != nil:
		return answer{}, err
	case st.OK:
		said = "The check passed: " + st.Output
	default:
		said = "The check failed: " + st.Output
	}
	i, err := r.d.Instance(req.Context(), id)
	if err != nil {
		return answer{}, err
	}
	return answer{data: r.view(&i), message: said}, nil
}

func (r *rest) setMetadata(req *http.Request) (answer, error) {
	set, err := readMetadata(req)
	if err != nil {
		return answer{}, err
	}
	err = r.metadata.SetMetadata(req.Context(), mesh.Ref{ID: req.PathValue("serviceId")}, set)
	return answer{message: "Metadata updated"}, err
}
