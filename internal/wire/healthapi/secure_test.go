package healthapi_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/wire/healthapi"
)

func TestANodeWhoseControlPortSpeaksTLSIsAskedOverIt(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"probes":[]}`))
	}))
	srv.EnableHTTP2 = true // as a control port does
	srv.StartTLS()
	defer srv.Close()
	pin := filepath.Join(t.TempDir(), "control.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(pin, block, 0o600); err != nil {
		t.Fatal(err)
	}
	c := healthapi.NewClient(srv.URL+"#"+pin, "")
	defer c.Close()
	if probes, err := c.Probes(t.Context(), ""); err != nil || len(probes) != 0 {
		t.Errorf("probes: %v, %v", probes, err)
	}
}
