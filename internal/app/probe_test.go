package app_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/app"
)

func TestAProgramIsReadyByTheRuleOfTheProbes(t *testing.T) {
	ln := listenLocal(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/moved", http.RedirectHandler("/ok", http.StatusFound))
	mux.Handle("/elsewhere", http.RedirectHandler("http://192.0.2.1/", http.StatusFound))
	mux.HandleFunc("/not-modified", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	for path, ready := range map[string]bool{
		"/ok": true, "/moved": true, "/elsewhere": false, "/not-modified": false, "/nothing": false,
	} {
		if err := app.Probe(t.Context(), "v", "127.0.0.1", portOf(t, ln), path); (err == nil) != ready {
			t.Errorf("%s: %v, want ready %v", path, err, ready)
		}
	}
}
