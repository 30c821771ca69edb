package main

import (
	"io"
	"net/http"
	"testing"

	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

func TestHello(t *testing.T) {
	m := toskatest.New(t)
	m.Join("hello", http.HandlerFunc(hello))
	for query, want := range map[string]string{"": "Hello, world!\n", "?name=Ada": "Hello, Ada!\n"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.Gateway()+"/api/hello/"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("hello%s = %q, %v, want %q", query, got, err, want)
		}
	}
}
