package mesh

import "fmt"

// Health is the verdict on an instance. The zero value is Passing: a fresh instance serves before its
// first probe.
type Health uint8

const (
	// Passing instances are picked.
	Passing Health = iota
	// Degraded instances are a last resort: picked only when no instance is passing.
	Degraded
	// Failing instances are not picked.
	Failing
	// Suspect instances vanished together with most of their service; they are a last resort and are
	// dropped one lease later.
	Suspect
)

var healthNames = [...]string{Passing: "passing", Degraded: "degraded", Failing: "failing", Suspect: "suspect"}

// String returns the lower-case word of the glossary, "passing" and so on.
func (h Health) String() string {
	if int(h) < len(healthNames) {
		return healthNames[h]
	}
	return fmt.Sprintf("health(%d)", uint8(h))
}

// ParseHealth reads the word that String writes. Any other word is an ErrInvalid.
func ParseHealth(s string) (Health, error) {
	for h, name := range healthNames {
		if s == name {
			return Health(h), nil
		}
	}
	return 0, &Error{Kind: ErrInvalid, Code: CodeInvalid,
		Detail: fmt.Sprintf("health %q is none of passing, degraded, failing", s)}
}

// MarshalText writes the word.
func (h Health) MarshalText() ([]byte, error) {
	if int(h) >= len(healthNames) {
		return nil, fmt.Errorf("health %d has no word", uint8(h))
	}
	return []byte(healthNames[h]), nil
}

// UnmarshalText reads the word.
func (h *Health) UnmarshalText(b []byte) error {
	v, err := ParseHealth(string(b))
	if err != nil {
		return err
	}
	*h = v
	return nil
}
