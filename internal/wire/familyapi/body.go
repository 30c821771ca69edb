package familyapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	familyv1 "github.com/toska-mesh/toska-mesh/api/family/discovery/v1"
)

// restRegistration is a ServiceRegistration. Names are matched without case and unknown ones ignored, as
// the family does.
type restRegistration struct {
	ServiceName json.RawMessage `json:"serviceName"`
	ServiceID   json.RawMessage `json:"serviceId"`
	Address     json.RawMessage `json:"address"`
	Port        json.RawMessage `json:"port"`
	Metadata    json.RawMessage `json:"metadata"`
	HealthCheck *struct {
		Endpoint           json.RawMessage `json:"endpoint"`
		Interval           json.RawMessage `json:"interval"`
		Timeout            json.RawMessage `json:"timeout"`
		UnhealthyThreshold json.RawMessage `json:"unhealthyThreshold"`
	} `json:"healthCheck"`
}

func readRegistration(r *http.Request) (wish, error) {
	var body restRegistration
	if err := readBody(r, &body); err != nil {
		return wish{}, err
	}
	var b binder
	w := wish{
		name: b.text("serviceName", body.ServiceName), id: b.text("serviceId", body.ServiceID),
		address: b.text("address", body.Address), port: b.integer("port", body.Port),
		metadata: b.texts("metadata", body.Metadata),
	}
	if c := body.HealthCheck; c != nil {
		w.check = &wishedCheck{
			endpoint: b.text("healthCheck.endpoint", c.Endpoint), interval: b.span("healthCheck.interval", c.Interval),
			timeout: b.span("healthCheck.timeout", c.Timeout), down: b.integer("healthCheck.unhealthyThreshold", c.UnhealthyThreshold),
		}
	}
	if w.name == "" && len(b.errors) == 0 {
		b.add("ServiceName", "The ServiceName field is required.")
	}
	return w, b.err()
}

func readHealth(r *http.Request) (familyv1.HealthStatus, string, error) {
	var body struct {
		Status json.RawMessage `json:"status"`
		Output json.RawMessage `json:"output"`
	}
	if err := readBody(r, &body); err != nil {
		return 0, "", err
	}
	var b binder
	s, output := b.status("status", body.Status), b.text("output", body.Output)
	return s, output, b.err()
}

func readMetadata(r *http.Request) (map[string]string, error) {
	var body struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	var b binder
	set := b.texts("metadata", body.Metadata)
	if len(set) == 0 && len(b.errors) == 0 {
		b.add("Metadata", "The Metadata field is required.")
	}
	return set, b.err()
}

// readBody reads the request's body as one JSON object into v.
func readBody(r *http.Request, v any) error {
	if !saysJSON(r.Header.Get("Content-Type")) {
		return &unreadable{status: http.StatusUnsupportedMediaType}
	}
	data, err := io.ReadAll(r.Body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &unreadable{status: http.StatusRequestEntityTooLarge}
	}
	var b binder
	switch {
	case err != nil:
		b.add("", "The body could not be read.")
	case len(strings.TrimSpace(string(data))) == 0:
		b.add("", "A non-empty request body is required.")
	default:
		if err := json.Unmarshal(data, v); err != nil {
			b.add("$", "The body is not the JSON object that is expected.")
		}
	}
	return b.err()
}

// saysJSON admits a client that says nothing of what it sends.
func saysJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || t == "text/json" ||
		strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json"))
}

// binder reads the fields of a model and collects what is wrong with them. An absent or null field is the
// zero value.
type binder struct{ errors map[string][]string }

func (b *binder) add(field, problem string) {
	if b.errors == nil {
		b.errors = map[string][]string{}
	}
	b.errors[field] = append(b.errors[field], problem)
}

func (b *binder) err() error {
	if len(b.errors) == 0 {
		return nil
	}
	return &unreadable{status: http.StatusBadRequest, errors: b.errors}
}

// read reports whether the field has a value that v can hold.
func (b *binder) read(field string, raw json.RawMessage, v any, want string) bool {
	if absent(raw) {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		b.reject(field, want)
		return false
	}
	return true
}

func (b *binder) reject(field, want string) {
	b.add("$."+field, "The JSON value could not be converted to "+want+".")
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func (b *binder) text(field string, raw json.RawMessage) string {
	var s string
	b.read(field, raw, &s, "a string")
	return s
}

// integer also admits a number in a string.
func (b *binder) integer(field string, raw json.RawMessage) int {
	const want = "a 32-bit integer"
	var n int32
	if len(raw) > 0 && raw[0] == '"' {
		i, err := strconv.ParseInt(b.text(field, raw), 10, 32)
		if err != nil {
			b.reject(field, want)
		}
		return int(i)
	}
	b.read(field, raw, &n, want)
	return int(n)
}

func (b *binder) texts(field string, raw json.RawMessage) map[string]string {
	const want = "an object of strings"
	var m map[string]*string
	if !b.read(field, raw, &m, want) {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		if v == nil {
			b.reject(fmt.Sprintf("%s[%q]", field, k), "a string")
			continue
		}
		out[k] = *v
	}
	return out
}

func (b *binder) span(field string, raw json.RawMessage) time.Duration {
	var s string
	if !b.read(field, raw, &s, spanForm) {
		return 0
	}
	d, err := parseTimeSpan(s)
	if err != nil {
		b.reject(field, spanForm)
	}
	return d
}

const spanForm = "a time span of the form hh:mm:ss"

// status reads the number of a status or its name. A number that is no status is refused: it would be taken for
// Unknown, which says nothing.
func (b *binder) status(field string, raw json.RawMessage) familyv1.HealthStatus {
	const want = "one of Unknown (0), Healthy (1), Unhealthy (2), Degraded (3)"
	n := 0
	if len(raw) == 0 || raw[0] != '"' {
		n = b.integer(field, raw)
	} else {
		s := b.text(field, raw)
		for n := range familyv1.HealthStatus_name {
			st := familyv1.HealthStatus(n)
			if strings.EqualFold(s, strings.TrimPrefix(st.String(), "HEALTH_STATUS_")) {
				return st
			}
		}
		i, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			b.reject(field, want)
			return familyv1.HealthStatus_HEALTH_STATUS_UNKNOWN
		}
		n = int(i)
	}
	if _, known := familyv1.HealthStatus_name[int32(n)]; !known {
		b.reject(field, want)
		return familyv1.HealthStatus_HEALTH_STATUS_UNKNOWN
	}
	return familyv1.HealthStatus(n)
}
