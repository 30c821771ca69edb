package main

import (
	"io"
	"net/http"
	"testing"

	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

func TestAdder(t *testing.T) {
	m := toskatest.New(t)
	m.Join("hello", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "Hello, "+r.FormValue("name")+"!")
	}))
	client, err := toska.NewClient(m.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	m.Join("adder", handler(client.HTTP()))
	for query, want := range map[string]string{
		"?a=1&b=2": "Hello, 3!",
		"?a=1&b=x": "add wants two numbers, as in /add?a=1&b=2\n",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.Gateway()+"/api/adder/add"+query, nil)
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
			t.Errorf("add%s = %q, %v, want %q", query, got, err, want)
		}
	}
}
