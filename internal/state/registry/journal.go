package registry

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
)

// What a journal entry tells of.
const (
	DidRegister   = "register"
	DidDeregister = "deregister"
	DidDrain      = "drain"
	DidVerdict    = "verdict"
	DidMetadata   = "metadata"
)

// Entry is what the journal keeps of one transaction.
type Entry struct {
	// At is the wall-clock time of the node that made the change.
	At time.Time `json:"at"`
	// Who is the caller's role and address, or the node whose timers decided.
	Who string `json:"who"`
	// What is one of the Did constants.
	What string `json:"what"`
	// Why is the reason in words.
	Why     string `json:"why,omitempty"`
	Service string `json:"service"`
	ID      string `json:"id"`
	// Also are the further changes of the same transaction.
	Also []Also `json:"also,omitempty"`
}

// Also is a further change in an Entry.
type Also struct {
	What    string `json:"what"`
	Why     string `json:"why,omitempty"`
	Service string `json:"service"`
	ID      string `json:"id"`
}

// DecodeEntry reads the journal entry of a commit. What no registry wrote is ErrDamaged.
func DecodeEntry(data []byte) (Entry, error) {
	content, err := Unseal(data)
	if err != nil {
		return Entry{}, err
	}
	var e Entry
	if err := json.Unmarshal(content, &e); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return e, nil
}

// encode returns the stored form. An Entry holds nothing that JSON refuses.
func (e Entry) encode() []byte {
	data, err := json.Marshal(e)
	if err != nil {
		panic("registry: a journal entry cannot be encoded: " + err.Error())
	}
	return Seal(data)
}

// whoCalls names a caller for the journal.
func whoCalls(c identity.Caller, node string) string {
	if c.Trusted {
		return "node " + node
	}
	if !c.Addr.IsValid() {
		return c.Role.String()
	}
	return c.Role.String() + " " + c.Addr.String()
}
