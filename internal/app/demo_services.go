package app

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	// demoSeed makes every run of the demo the same.
	demoSeed = 2
	// demoFastest and demoSlowest bound what the slow service takes.
	demoFastest = 200 * time.Millisecond
	demoSlowest = 800 * time.Millisecond
)

// demoInstance is one instance of one of the demo's services.
type demoInstance struct {
	service, id string
	about       string // shown with the instance as metadata
	handler     http.Handler
	port        int // once it listens
}

func (i *demoInstance) registration() mesh.Registration {
	return mesh.Registration{Service: i.service, ID: i.id, Address: "127.0.0.1", Port: i.port, Metadata: map[string]string{"demo": i.about}}
}

// newDemoCast returns the instances of all services. One of flaky's three fails every second request,
// which is a sixth of all and so within the budget of retries: no client ever sees it.
func newDemoCast(c *demoClient) []*demoInstance {
	var cast []*demoInstance
	add := func(service, about string, answer func(r *http.Request) (status int, says string)) {
		n := 1
		for _, other := range cast {
			if other.service == service {
				n++
			}
		}
		one := &demoInstance{service: service, id: fmt.Sprintf("%s%s-%d", demoID, service, n), about: about}
		one.handler = demoHandler{one, answer}
		cast = append(cast, one)
	}
	add("hello", "fast", sayHello)
	add("hello", "fast", sayHello)
	add("slow", "takes 200 to 800 ms", newSlow().answer)
	add("flaky", "well", sayWell)
	add("flaky", "well", sayWell)
	add("flaky", "503 every second time", new(flaky).answer)
	add("orders", "asks hello", c.order)
	return cast
}

// demoHandler answers in JSON who answers and what that one says.
type demoHandler struct {
	of     *demoInstance
	answer func(r *http.Request) (status int, says string)
}

// ServeHTTP implements http.Handler.
func (h demoHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, says := h.answer(r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that has gone hears nothing more.
	_ = json.NewEncoder(w).Encode(demoAnswer{Service: h.of.service, Instance: h.of.id, Says: says})
}

type demoAnswer struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
	Says     string `json:"says"`
}

func sayHello(r *http.Request) (int, string) {
	name := path.Base(r.URL.Path)
	if name == "/" || name == "." {
		name = "whoever you are"
	}
	return http.StatusOK, "hello, " + name
}

func sayWell(*http.Request) (int, string) { return http.StatusOK, "all is well here" }

// flaky fails every second time.
type flaky struct{ asked atomic.Int64 }

func (f *flaky) answer(*http.Request) (int, string) {
	if f.asked.Add(1)%2 == 1 {
		return http.StatusServiceUnavailable, "I fail every second time"
	}
	return http.StatusOK, "well, this time"
}

// slow takes its time.
type slow struct {
	mu   sync.Mutex
	dice *rand.Rand // guarded by mu
}

func newSlow() *slow { return &slow{dice: rand.New(rand.NewPCG(demoSeed, demoSeed))} }

func (s *slow) answer(r *http.Request) (int, string) {
	s.mu.Lock()
	d := demoFastest + time.Duration(s.dice.Int64N(int64(demoSlowest-demoFastest)))
	s.mu.Unlock()
	d = d.Round(time.Millisecond)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
	return http.StatusOK, fmt.Sprintf("that took me %v", d)
}
