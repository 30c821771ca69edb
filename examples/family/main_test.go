package main

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

func TestFamily(t *testing.T) {
	m := toskatest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- run(ctx, m.Discovery(), 10*time.Millisecond) }()
	await(t, m.Gateway()+"/api/family/", http.StatusOK, "hello from the family\n")
	cancel()
	if err := <-result; err != nil {
		t.Errorf("run = %v", err)
	}
	await(t, m.Gateway()+"/api/family/", http.StatusNotFound, "")
}

// await asks until the answer is as wanted. An empty body is any.
func await(t *testing.T, url string, status int, body string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode == status && (body == "" || string(got) == body) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s is %d %q, want %d %q", url, res.StatusCode, got, status, body)
		}
	}
}
