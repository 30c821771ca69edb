package mesh

import (
	"fmt"
	"strconv"
	"strings"
)

// Revision counts changes of the registry. Numbers rise within an epoch and have gaps; a recovery of
// the store raises the epoch. The zero Revision comes before all others.
type Revision struct {
	Epoch  uint64
	Number uint64
}

// IsZero reports whether r is the revision before the first change.
func (r Revision) IsZero() bool { return r == Revision{} }

// Before reports whether r is older than o.
func (r Revision) Before(o Revision) bool {
	if r.Epoch != o.Epoch {
		return r.Epoch < o.Epoch
	}
	return r.Number < o.Number
}

// String returns "epoch.number".
func (r Revision) String() string {
	return strconv.FormatUint(r.Epoch, 10) + "." + strconv.FormatUint(r.Number, 10)
}

// ParseRevision reads what String writes; the empty string is the zero Revision.
func ParseRevision(s string) (Revision, error) {
	if s == "" {
		return Revision{}, nil
	}
	epoch, number, ok := strings.Cut(s, ".")
	e, err1 := strconv.ParseUint(epoch, 10, 64)
	n, err2 := strconv.ParseUint(number, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Revision{}, &Error{Kind: ErrInvalid, Code: CodeInvalid,
			Detail: fmt.Sprintf("revision %q is not of the form epoch.number, such as 1.42", s)}
	}
	return Revision{Epoch: e, Number: n}, nil
}

// MarshalText writes "epoch.number".
func (r Revision) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "epoch.number".
func (r *Revision) UnmarshalText(b []byte) error {
	v, err := ParseRevision(string(b))
	if err != nil {
		return err
	}
	*r = v
	return nil
}
