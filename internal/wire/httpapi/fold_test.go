package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
)

func TestOnlyTheFamilysPathsAreMatchedWithoutCase(t *testing.T) {
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Pattern, " ", r.PathValue("id"), r.PathValue("rest"))
	}
	mux.HandleFunc("GET /api/status", say)
	mux.HandleFunc("GET /api/status/{id}", say)
	mux.HandleFunc("POST /api/registration/health/{id}", say)
	mux.HandleFunc("GET /api/files/{rest...}", say)
	mux.HandleFunc("GET /api/v1/things/{id}", say)
	mux.HandleFunc("GET /docs", say)
	h := httpapi.Handler(mux, loopback(), tokens{}, silent())
	tests := []struct {
		name, method, path string
		status             int
		want               string
	}{
		{"as mounted", "GET", "/api/status", 200, "GET /api/status "},
		{"in another case", "GET", "/API/Status", 200, "GET /api/status "},
		{"an id keeps its case", "GET", "/api/Status/Web-A", 200, "GET /api/status/{id} Web-A"},
		{"an id keeps its escapes", "GET", "/Api/STATUS/a%2FB%c3%a9", 200, "GET /api/status/{id} a/Bé"},
		{"a literal behind another", "POST", "/api/Registration/HEALTH/Check", 200, "POST /api/registration/health/{id} Check"},
		{"a rest keeps its case", "GET", "/api/Files/A/Bc", 200, "GET /api/files/{rest...} A/Bc"},
		{"a method that the path does not take", "POST", "/api/Status", 405, ""},
		{"a path that is not there", "GET", "/api/Nothing", 404, ""},
		{"our own interface", "GET", "/api/V1/things/a", 404, ""},
		{"our own interface within", "GET", "/api/v1/Things/a", 404, ""},
		{"anything else", "GET", "/Docs", 404, ""},
		{"dots are not cleaned up", "GET", "/api/x/../Status", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, h, tt.path, func(r *http.Request) { r.Method = tt.method })
			if w.Code != tt.status {
				t.Fatalf("%s %s: %d %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.status)
			}
			if tt.want != "" && w.Body.String() != tt.want {
				t.Errorf("%s %s: %q, want %q", tt.method, tt.path, w.Body, tt.want)
			}
			if tt.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
		})
	}
}
