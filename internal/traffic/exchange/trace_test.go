package exchange_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

const (
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentID = "00f067aa0ba902b7"
)

func TestParseTrace(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want string // what is passed on without a child; empty for ignored
	}{
		{"00-" + traceID + "-" + parentID + "-01", "00-" + traceID + "-" + parentID + "-01"},
		{"00-" + traceID + "-" + parentID + "-00", "00-" + traceID + "-" + parentID + "-00"},
		{"00-" + traceID + "-" + parentID + "-ff", "00-" + traceID + "-" + parentID + "-01"},
		{"cc-" + traceID + "-" + parentID + "-01", "00-" + traceID + "-" + parentID + "-01"},
		{"cc-" + traceID + "-" + parentID + "-01-what-comes-later", "00-" + traceID + "-" + parentID + "-01"},
		{"cc-" + traceID + "-" + parentID + "-01.x", ""},
		{"00-" + traceID + "-" + parentID + "-01-more", ""},
		{"ff-" + traceID + "-" + parentID + "-01", ""},
		{"00-" + strings.Repeat("0", 32) + "-" + parentID + "-01", ""},
		{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", ""},
		{"00-" + strings.ToUpper(traceID) + "-" + parentID + "-01", ""},
		{"00-" + traceID + "-" + parentID + "-0", ""},
		{"00-" + traceID + "_" + parentID + "-01", ""},
		{"0x-" + traceID + "-" + parentID + "-01", ""},
		{"00-" + traceID[1:] + "g-" + parentID + "-01", ""},
		{"", ""},
	} {
		got, ok := exchange.ParseTrace([]byte(tc.in))
		if ok != (tc.want != "") {
			t.Errorf("ParseTrace(%q): %v", tc.in, ok)
			continue
		}
		if s := string(got.AppendParent(nil)); ok && s != tc.want {
			t.Errorf("ParseTrace(%q) goes on as %q, want %q", tc.in, s, tc.want)
		}
	}
}

func TestAChildKeepsItsTrace(t *testing.T) {
	parent, _ := exchange.ParseTrace([]byte("00-" + traceID + "-" + parentID + "-01"))
	child := parent.Child()
	s := string(child.AppendParent(nil))
	if child.ID() != parent.ID() || !strings.HasPrefix(s, "00-"+traceID+"-") || strings.Contains(s, parentID) || !strings.HasSuffix(s, "-01") {
		t.Errorf("the child is %s", s)
	}
	if got := string(parent.AppendParent(nil)); !strings.Contains(got, parentID) {
		t.Errorf("the parent became %s", got)
	}
	fresh, another := exchange.NewTrace(), exchange.NewTrace()
	if fresh.ID() == another.ID() {
		t.Error("two new traces are the same")
	}
	if s := string(fresh.AppendParent(nil)); !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-00$`).MatchString(s) || s[3:35] != string(fresh.AppendID(nil)) {
		t.Errorf("a new trace is %s", s)
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add([]byte("00-" + traceID + "-" + parentID + "-01"))
	f.Add([]byte("cc-" + traceID + "-" + parentID + "-01-x"))
	f.Add([]byte("00-" + traceID))
	valid := regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$`)
	f.Fuzz(func(t *testing.T, in []byte) {
		trace, ok := exchange.ParseTrace(in)
		if !ok {
			if trace.ID() != [16]byte{} {
				t.Fatalf("%q was ignored, and left the id %x", in, trace.ID())
			}
			return
		}
		if !valid.MatchString(strings.ReplaceAll(string(in), "\n", " ")) {
			t.Fatalf("%q was taken", in)
		}
		out := trace.AppendParent(nil)
		again, ok := exchange.ParseTrace(out)
		if !ok || again != trace {
			t.Fatalf("%q goes on as %q, which reads as %v, %v", in, out, again, ok)
		}
	})
}
