package familyapi_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/toska-mesh/toska-mesh/internal/wire/familyapi"
)

func TestTimeSpans(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"00:00:30", 30 * time.Second, true},
		{"01:02:03", time.Hour + 2*time.Minute + 3*time.Second, true},
		{"1.02:00:00", 26 * time.Hour, true},
		{"00:00:00.5", 500 * time.Millisecond, true},
		{"00:00:00.0000001", 100 * time.Nanosecond, true},
		{"-00:00:05", -5 * time.Second, true},
		{"10675199.02:48:05.4775807", math.MaxInt64, true},
		{"30", 0, false},
		{"30s", 0, false},
		{"24:00:00", 0, false},
		{"00:60:00", 0, false},
		{"00:00:60", 0, false},
		{"00:00:00.12345678", 0, false},
		{"", 0, false},
		{" 00:00:01", 0, false},
	}
	for _, tt := range tests {
		got, err := familyapi.ParseTimeSpan(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %v, %v; want %v, %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func TestEveryTimeSpanIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day, h := rapid.IntRange(0, 99_999).Draw(t, "days"), rapid.IntRange(0, 23).Draw(t, "hours")
		m, s := rapid.IntRange(0, 59).Draw(t, "minutes"), rapid.IntRange(0, 59).Draw(t, "seconds")
		ticks := rapid.IntRange(0, 9_999_999).Draw(t, "ticks")
		want := time.Duration(day)*24*time.Hour + time.Duration(h)*time.Hour + time.Duration(m)*time.Minute +
			time.Duration(s)*time.Second + time.Duration(ticks)*100
		in := fmt.Sprintf("%d.%02d:%02d:%02d.%07d", day, h, m, s, ticks)
		if got, err := familyapi.ParseTimeSpan(in); err != nil || got != want {
			t.Fatalf("%q: %v, %v; want %v", in, got, err, want)
		}
	})
}

func FuzzTimeSpan(f *testing.F) {
	for _, s := range []string{"00:00:30", "-1.02:03:04.5", "99999999.23:59:59.9999999", ".", "::", "1.1:1:1."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := familyapi.ParseTimeSpan(s); err != nil && d != 0 {
			t.Errorf("%q: %v beside an error", s, d)
		}
	})
}
