package httpapi_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

type thing struct {
	Name string
	Port int
	In   struct{ Deep int }
}

func TestDecodeIsStrict(t *testing.T) {
	tests := []struct {
		name, body string
		kind       error
		field      string
	}{
		{"a thing", `{"Name":"a","Port":1}`, nil, ""},
		{"an unknown field", `{"Name":"a","Colour":1}`, mesh.ErrInvalid, "Colour"},
		{"a wrong type", `{"Port":"x"}`, mesh.ErrInvalid, "Port"},
		{"a wrong type inside", `{"In":{"Deep":"x"}}`, mesh.ErrInvalid, "In.Deep"},
		{"nothing", ``, mesh.ErrInvalid, ""},
		{"half", `{"Name":`, mesh.ErrInvalid, ""},
		{"more than one", `{} {}`, mesh.ErrInvalid, ""},
		{"N-16 too much", `{"Name":"` + strings.Repeat("x", httpapi.MaxBody) + `"}`, mesh.ErrTooLarge, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := decode(t, tt.body)
			if !errors.Is(err, tt.kind) {
				t.Fatalf("got %v, want %v", err, tt.kind)
			}
			var e *mesh.Error
			if tt.field == "" || !errors.As(err, &e) {
				return
			}
			if len(e.Fields) != 1 || e.Fields[0].Field != tt.field {
				t.Errorf("fields %v, want %s", e.Fields, tt.field)
			}
		})
	}
}

func decode(t *testing.T, body string) error {
	t.Helper()
	var v thing
	return httpapi.Decode(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(body)), &v)
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"Name":"a"}`, `[1]`, `{"x":1}`, `{"Port":1e99}`, "\x00", `{}x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		err := decode(t, body)
		if err == nil {
			return
		}
		if !errors.Is(err, mesh.ErrInvalid) && !errors.Is(err, mesh.ErrTooLarge) {
			t.Errorf("%q: %v has another kind", body, err)
		}
		if diff := cmp.Diff(httpapi.NewProblem(t.Context(), err).Title == "", false); diff != "" {
			t.Errorf("%q: no problem", body)
		}
	})
}
