package exchange_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

var kinds = map[string]exchange.Kind{
	"Host": exchange.Host, "Content-Length": exchange.ContentLength, "Transfer-Encoding": exchange.TransferEncoding,
	"Connection": exchange.Connection, "Keep-Alive": exchange.HopByHop, "Proxy-Connection": exchange.HopByHop,
	"Proxy-Authenticate": exchange.HopByHop, "Proxy-Authorization": exchange.HopByHop, "HTTP2-Settings": exchange.HopByHop,
	"Upgrade": exchange.Upgrade, "TE": exchange.TE, "Trailer": exchange.Trailer, "Expect": exchange.Expect,
	"Forwarded": exchange.Forwarding, "X-Real-IP": exchange.Forwarding, "X-Forwarded-For": exchange.Forwarding,
	"X-Forwarded-Host": exchange.Forwarding, "X-Forwarded-Port": exchange.Forwarding, "X-Forwarded-Proto": exchange.Forwarding,
	"X-Forwarded-Prefix": exchange.Forwarding, "X-Forwarded-Server": exchange.Forwarding, "X-Forwarded-Ssl": exchange.Forwarding,
	"X-Forwarded-User": exchange.Forwarding, "X-Forwarded-Client-Cert": exchange.Forwarding, "X-Forwarded-Anything-That-Is-Long": exchange.Forwarding,
	"X-Original-URL": exchange.Refused, "X-Rewrite-URL": exchange.Refused, "Proxy": exchange.Refused,
	"X-Request-Id": exchange.RequestID, "Traceparent": exchange.TraceParent, "Tracestate": exchange.TraceState, "Date": exchange.Date,
}

func TestKindOf(t *testing.T) {
	for name, want := range kinds {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := exchange.KindOf([]byte(spelling)); got != want {
				t.Errorf("KindOf(%q) = %d, want %d", spelling, got, want)
			}
		}
		for _, alias := range []string{strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."), strings.Replace(name, "-", "_", 1)} {
			if alias == name {
				continue
			}
			if got := exchange.KindOf([]byte(alias)); got != exchange.Refused {
				t.Errorf("I-5 KindOf(%q) = %d, want it refused: it may be taken for %s", alias, got, name)
			}
		}
	}
	for name, want := range map[string]exchange.Kind{
		"Accept": exchange.Plain, "X-Custom": exchange.Plain, "Cookie": exchange.Plain, "X": exchange.Plain, "": exchange.Plain,
		"X-Forwarded": exchange.Plain, "X-Forwarded-": exchange.Plain, "Hos": exchange.Plain, "Hostt": exchange.Plain,
		"Sec-WebSocket-Key": exchange.Plain, "A.B": exchange.Plain, strings.Repeat("x", 500): exchange.Plain,
		"A_B": exchange.Refused, "_": exchange.Refused, strings.Repeat("x", 500) + "_": exchange.Refused,
	} {
		if got := exchange.KindOf([]byte(name)); got != want {
			t.Errorf("KindOf(%.40q) = %d, want %d", name, got, want)
		}
	}
}

func FuzzKindOf(f *testing.F) {
	for name := range kinds {
		f.Add([]byte(name))
		f.Add([]byte(strings.ReplaceAll(name, "-", "_")))
	}
	f.Add([]byte("x-forwarded-\xff"))
	f.Fuzz(func(t *testing.T, name []byte) {
		got := exchange.KindOf(name)
		if upper := exchange.KindOf([]byte(strings.ToUpper(string(name)))); isASCII(name) && upper != got {
			t.Fatalf("%q is %d, and in upper case %d", name, got, upper)
		}
		// Whatever an upstream might take for a field that is ours must not pass as a plain one.
		alias := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(string(name)))
		for known, kind := range kinds {
			if !strings.EqualFold(alias, known) || !isASCII(name) {
				continue
			}
			if got == exchange.Plain || got != kind && got != exchange.Refused {
				t.Fatalf("%q is %d, and may be taken for %s", name, got, known)
			}
		}
		if slices.Contains(name, '_') && got != exchange.Refused {
			t.Fatalf("%q is %d, want it refused", name, got)
		}
	})
}

func isASCII(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c >= 0x80 }) }

func TestTokens(t *testing.T) {
	for _, tc := range []struct {
		list, token string
		want        bool
	}{
		{"close", "close", true}, {"CLOSE", "close", true}, {"a, close", "close", true}, {"a ,\tclose , b", "close", true},
		{"closed", "close", false}, {"", "close", false}, {",,", "close", false}, {"a;close", "close", false}, {"close", "", false},
	} {
		if got := exchange.HasToken([]byte(tc.list), tc.token); got != tc.want {
			t.Errorf("HasToken(%q, %q) = %v", tc.list, tc.token, got)
		}
	}
}

func TestFields(t *testing.T) {
	f := exchange.Fields{
		{Name: []byte("A"), Value: []byte("1")}, {Name: []byte("b"), Value: []byte("2"), Kind: exchange.Date}, {Name: []byte("a"), Value: []byte("3")},
	}
	if got := string(f.Get("a")); got != "1" {
		t.Errorf("Get(a) = %q, want the first", got)
	}
	if got := f.Get("c"); got != nil {
		t.Errorf("Get(c) = %q, want nil", got)
	}
	if got, ok := f.Find(exchange.Date); !ok || string(got.Value) != "2" {
		t.Errorf("Find(Date) = %v, %v", got, ok)
	}
	if _, ok := f.Find(exchange.Host); ok {
		t.Error("found a field that is not there")
	}
}

func TestADetachedRequestDoesNotShareItsBuffer(t *testing.T) {
	buf := []byte("GET /a?b host id name value nominated")
	r := exchange.Request{
		Method: buf[0:3], Target: buf[4:8], Path: buf[4:6], Query: buf[7:8], Host: buf[9:13], ID: buf[14:16],
		Fields: exchange.Fields{{Name: buf[17:21], Value: buf[22:27], Kind: exchange.Date}}, Nominated: [][]byte{buf[28:37]},
	}
	r.Detach()
	for i := range buf {
		buf[i] = '!'
	}
	got := strings.Join([]string{string(r.Method), string(r.Target), string(r.Path), string(r.Query), string(r.Host), string(r.ID),
		string(r.Fields[0].Name), string(r.Fields[0].Value), string(r.Nominated[0])}, " ")
	if want := "GET /a?b /a b host id name value nominated"; got != want || r.Fields[0].Kind != exchange.Date {
		t.Errorf("detached is %q, want %q", got, want)
	}
	_ = append(r.Method, "XXXX"...) // must not run into what lies behind
	if string(r.Target) != "/a?b" {
		t.Errorf("target became %q", r.Target)
	}
}
