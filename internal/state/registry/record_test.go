package registry_test

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func full() registry.Record {
	at := time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)
	return registry.Record{
		ID: "web-1", Service: "web", Incarnation: 7, Address: "node:n1", Loopback: "127.0.0.1", Port: 8080,
		Metadata: map[string]string{"weight": "3"},
		Check:    &mesh.Check{HTTP: "/healthz", Interval: time.Second, Timeout: time.Second, Down: 2, TLS: true, Port: 9, Up: 1},
		Lifetime: mesh.Leased, TTL: time.Minute, Health: mesh.Failing, HealthOutput: "no answer", HealthAt: at,
		Verdict: registry.ByLease, Began: mesh.Failing, Words: []registry.Word{
			{By: registry.ByLease, Health: mesh.Failing, Output: "no answer", At: at},
			{By: registry.ByReport, Health: mesh.Degraded, At: at.Add(-time.Second)}},
		Draining: true, Registrar: "service", Node: "n1", RegisteredAt: at,
	}
}

// The stored form is read by later versions: a change of it needs a new format.
func TestEncodedFormIsStable(t *testing.T) {
	data, err := registry.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(data[:5]), "016df9580d"; got != want {
		t.Errorf("header = %s, want %s", got, want)
	}
	const want = `{"id":"web-1","service":"web","incarnation":7,"address":"node:n1","loopback":"127.0.0.1","port":8080,` +
		`"metadata":{"weight":"3"},"check":{"HTTP":"/healthz","TLS":true,"Port":9,"Interval":1000000000,"Timeout":1000000000,"Up":1,"Down":2},` +
		`"lifetime":1,"ttl":60000000000,"began":"failing","words":[` +
		`{"by":"lease","health":"failing","output":"no answer","at":"2026-02-03T04:05:06.000007Z"},` +
		`{"by":"report","health":"degraded","at":"2026-02-03T04:05:05.000007Z"}],"health":"failing","healthOutput":"no answer","healthAt":"2026-02-03T04:05:06.000007Z",` +
		`"verdict":"lease","draining":true,"registrar":"service","node":"n1","registeredAt":"2026-02-03T04:05:06.000007Z"}`
	if d := cmp.Diff(want, string(data[5:])); d != "" {
		t.Errorf("content (-want +got):\n%s", d)
	}
}

func TestAJournalEntryCarriesItsChecksum(t *testing.T) {
	store := memory.NewStore()
	r := start(t, store)
	before := revision(t, r)
	register(t, r, web("a"))
	for c, err := range store.Watch(t.Context(), before) {
		if err != nil {
			t.Fatal(err)
		}
		if e, err := registry.DecodeEntry(c.Journal); err != nil || e.ID != "a" || e.What != registry.DidRegister {
			t.Errorf("DecodeEntry = %+v, %v, want the registration of a", e, err)
		}
		for i := range c.Journal {
			data := append([]byte(nil), c.Journal...)
			data[i] ^= 1
			if _, err := registry.DecodeEntry(data); !errors.Is(err, registry.ErrDamaged) {
				t.Fatalf("a bit of byte %d flipped: DecodeEntry = %v, want ErrDamaged", i, err)
			}
		}
		break
	}
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~]{1,20}`)
		health := mesh.Health(rapid.IntRange(0, 3).Draw(t, "health"))
		want := registry.Record{
			ID: text.Draw(t, "id"), Service: text.Draw(t, "service"), Incarnation: rapid.Uint64().Draw(t, "incarnation"),
			Address: text.Draw(t, "address"), Port: rapid.IntRange(1, 65535).Draw(t, "port"),
			Metadata: rapid.MapOfN(text, text, 1, 5).Draw(t, "metadata"),
			Lifetime: mesh.Lifetime(rapid.IntRange(0, 2).Draw(t, "lifetime")),
			Began:    health, Health: health,
			Draining: rapid.Bool().Draw(t, "draining"),
		}
		data, err := registry.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := registry.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Decode(Encode(r)) (-want +got):\n%s", d)
		}
	})
}

func TestEveryFlippedBitIsDamage(t *testing.T) {
	good, err := registry.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			data := append([]byte(nil), good...)
			data[i] ^= 1 << bit
			if _, err := registry.Decode(data); !errors.Is(err, registry.ErrDamaged) {
				t.Fatalf("bit %d of byte %d flipped: Decode = %v, want ErrDamaged", bit, i, err)
			}
		}
	}
	for n := range len(good) {
		if _, err := registry.Decode(good[:n]); !errors.Is(err, registry.ErrDamaged) {
			t.Fatalf("cut to %d bytes: Decode = %v, want ErrDamaged", n, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := registry.Encode(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := registry.Decode(data)
		if err != nil {
			if !errors.Is(err, registry.ErrDamaged) {
				t.Errorf("Decode = %v, want ErrDamaged", err)
			}
			return
		}
		again, err := registry.Encode(rec)
		if err != nil {
			t.Fatalf("Encode of a decoded record: %v", err)
		}
		if twice, err := registry.Decode(again); err != nil || twice.ID != rec.ID {
			t.Errorf("Decode(Encode(Decode(data))) = %v, %v", twice, err)
		}
	})
}
