package toskatest_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/toska-mesh/toska-mesh/mesh"
	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// get asks without keeping the connection.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestNewIsAMeshWithin200Milliseconds(t *testing.T) {
	toskatest.New(t) // what the first one loads is not counted
	began := time.Now()
	toskatest.New(t)
	took := time.Since(began)
	t.Logf("New took %v", took)
	if took > 200*time.Millisecond {
		t.Errorf("New took %v, want less than 200 ms", took)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		toskatest.New(b)
	}
}

func TestAnInstanceIsRoutableOnceJoinReturns(t *testing.T) {
	m := toskatest.New(t)
	i := m.Join("orders", nil, toska.WithVersion("1.2"), toska.WithWeight(3), toska.WithMetadata("zone", "a"))
	if status, body := get(t, m.Gateway()+"/api/orders/x"); status != 200 || body != i.ID {
		t.Errorf("the gateway answered %d %q, want 200 %q", status, body, i.ID)
	}
	if md := i.Metadata; md["version"] != "1.2" || md["weight"] != "3" || md["zone"] != "a" {
		t.Errorf("metadata %v", md)
	}
	if i.Check == nil || i.Check.HTTP != toska.DefaultCheck {
		t.Errorf("check %+v, want GET %s", i.Check, toska.DefaultCheck)
	}
	if err := i.Stop(); err != nil {
		t.Error(err)
	}
	if status, _ := get(t, m.Gateway()+"/api/orders/x"); status != 404 {
		t.Errorf("after its end the gateway answered %d, want 404", status)
	}
}

// N-17: a killed instance is out of rotation by the loss of its connection.
func TestN17AKilledInstanceIsOutOfRotation(t *testing.T) {
	m := toskatest.New(t)
	dead, alive := m.Join("orders", nil), m.Join("orders", nil)
	m.Kill(dead)
	for range 20 {
		if status, body := get(t, m.Gateway()+"/api/orders/x"); status != 200 || body != alive.ID {
			t.Errorf("answered %d %q, want 200 %q", status, body, alive.ID)
		}
	}
	d, err := toska.NewMesh(m.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	await(t, d, "the dead instance is failing and still there", func(s *mesh.Snapshot) bool {
		for _, i := range s.Services["orders"] {
			if i.ID == dead.ID {
				return i.Health == mesh.Failing
			}
		}
		return false
	})
}

func TestAKillDoesNotWaitForHandlers(t *testing.T) {
	m := toskatest.New(t)
	entered, finish := make(chan struct{}), make(chan struct{})
	i := m.Join("orders", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-finish
	}))
	ended := make(chan error, 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		ended <- err
	}()
	<-entered
	m.Kill(i)
	if err := <-ended; err == nil {
		t.Error("the request under way was answered by an instance that was killed")
	}
	select {
	case <-i.Done():
		t.Error("the instance is done although its handler is not")
	default:
	}
	close(finish)
	<-i.Done()
}

func await(t *testing.T, d mesh.Discovery, what string, ok func(*mesh.Snapshot) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for s, err := range d.Watch(ctx, mesh.Revision{}) {
		if err != nil {
			t.Fatalf("waiting until %s: %v", what, err)
		}
		if ok(s) {
			return
		}
	}
	t.Fatalf("it never came that %s", what)
}

func TestNothingIsLeftBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("a mesh with instances", func(t *testing.T) {
		m := toskatest.New(t)
		m.Kill(m.Join("orders", nil))
		m.Join("web", nil)
		get(t, m.Gateway()+"/api/web/")
	})
	goleak.VerifyNone(t, before)
}
