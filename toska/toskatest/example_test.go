package toskatest_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/toska-mesh/toska-mesh/toska"
	"github.com/toska-mesh/toska-mesh/toska/toskatest"
)

// A test of a service behind the gateway, and of one that calls it by its name.
func Example() {
	_ = func(t *testing.T) {
		m := toskatest.New(t)
		m.Join("orders", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "three orders")
		}))
		client, err := toska.NewClient(m.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		for url, c := range map[string]*http.Client{
			m.Gateway() + "/api/orders/list": http.DefaultClient,
			"toska://orders/list":            client.HTTP(),
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("%s is %s", url, res.Status)
			}
		}
	}
}
