package registry

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// formatJSON is the first byte of a stored value: a CRC32C and then JSON.
const formatJSON = 1

// headerSize is the format byte and the checksum.
const headerSize = 1 + crc32.Size

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is a stored value that cannot be trusted: too short, of an unknown format, with a wrong
// checksum, or with content that no registry writes.
var ErrDamaged = errors.New("damaged record")

// Record is what is stored of one instance.
type Record struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	// Incarnation is zero in the value that a registration wrote: it is then the number of the commit
	// that wrote it, which is unique and rises even across deregistrations. Later values of the same
	// incarnation carry the number.
	Incarnation uint64 `json:"incarnation,omitempty"`
	// Address is dialable, or NodeAddress of the node on whose loopback the instance listens.
	Address string `json:"address"`
	// Loopback is the loopback address to dial on that node; empty for an Address that is dialable.
	Loopback string `json:"loopback,omitempty"`
	Port     int    `json:"port"`
	// Metadata is what counts: what the instance registered, and over it the Edits.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Edits are the keys that were set since the registration, Registered the metadata without them; both
	// are nil until then.
	Edits      map[string]string `json:"edits,omitempty"`
	Registered map[string]string `json:"registered,omitempty"`
	Check      *mesh.Check       `json:"check,omitempty"`
	Lifetime   mesh.Lifetime     `json:"lifetime"`
	TTL        time.Duration     `json:"ttl,omitempty"`
	// Began is the health that the registration began with. It counts until a report or a probe has spoken.
	Began mesh.Health `json:"began,omitempty"`
	// Words are the last words on the health, one of each source that has spoken, sorted by source.
	Words []Word `json:"words,omitempty"`
	// Health and HealthOutput are the verdict that the words join to, Verdict whose word it is, and
	// HealthAt since when it is this health.
	Health       mesh.Health `json:"health"`
	HealthOutput string      `json:"healthOutput,omitempty"`
	HealthAt     time.Time   `json:"healthAt,omitzero"`
	Verdict      Verdict     `json:"verdict,omitempty"`
	Draining     bool        `json:"draining,omitempty"`
	Registrar    string      `json:"registrar"`
	// Owner is the run of the program that registered; empty if it did not say.
	Owner        string    `json:"owner,omitempty"`
	Node         string    `json:"node"`
	RegisteredAt time.Time `json:"registeredAt"`
}

// Encode returns the stored form of a record: format, checksum, content.
func Encode(r Record) ([]byte, error) {
	content, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record of %s: %w", r.ID, err)
	}
	return Seal(content), nil
}

// Seal returns the stored form of a JSON document: the format, the checksum, the document. All that a
// store holds has this form.
func Seal(content []byte) []byte {
	data := make([]byte, headerSize, headerSize+len(content))
	data[0] = formatJSON
	data = append(data, content...)
	binary.BigEndian.PutUint32(data[1:headerSize], checksum(data))
	return data
}

// Unseal returns what Seal was given. Anything else is ErrDamaged, with a reason for people.
func Unseal(data []byte) ([]byte, error) {
	if len(data) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes are too short", ErrDamaged, len(data))
	}
	if data[0] != formatJSON {
		return nil, fmt.Errorf("%w: format %d is unknown to this version", ErrDamaged, data[0])
	}
	if got, want := checksum(data), binary.BigEndian.Uint32(data[1:headerSize]); got != want {
		return nil, fmt.Errorf("%w: checksum is %08x, stored as %08x", ErrDamaged, got, want)
	}
	return data[headerSize:], nil
}

// Decode reads what Encode wrote. Anything else is ErrDamaged, with a reason for people.
func Decode(data []byte) (Record, error) {
	content, err := Unseal(data)
	if err != nil {
		return Record{}, err
	}
	var stored struct {
		Record
		// Before was written where Words are now.
		Before mesh.Health `json:"before"`
	}
	if err := json.Unmarshal(content, &stored); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r := stored.Record
	if r.ID == "" || r.Service == "" || r.Port < 1 || r.Port > 65535 || r.Lifetime > mesh.Permanent {
		return Record{}, fmt.Errorf("%w: id, service, port or lifetime is missing or out of range", ErrDamaged)
	}
	if len(r.Words) == 0 {
		r.adopt(stored.Before)
	} else {
		r.join(r.HealthAt)
	}
	return r, nil
}

// checksum covers the format byte and the content.
func checksum(data []byte) uint32 {
	sum := crc32.Update(0, castagnoli, data[:1])
	return crc32.Update(sum, castagnoli, data[headerSize:])
}

// keyPrefix is what the keys of instances begin with.
const keyPrefix = "instance/"

func keyOf(id string) string { return keyPrefix + id }

// decodeValue reads a value of the store and checks that it is the one of its key.
func decodeValue(v Value) (id string, rec Record, err error) {
	id, ok := strings.CutPrefix(v.Key, keyPrefix)
	if !ok {
		return v.Key, Record{}, fmt.Errorf("%w: a key of this kind is unknown to this version", ErrDamaged)
	}
	rec, err = Decode(v.Data)
	if err != nil {
		return id, Record{}, err
	}
	if rec.ID != id {
		return id, Record{}, fmt.Errorf("%w: the value is that of %q", ErrDamaged, rec.ID)
	}
	if rec.Incarnation == 0 {
		rec.Incarnation = v.Revision.Number
	}
	return id, rec, nil
}

// instance returns the record as handed out on the node with the given id.
func (r *Record) instance(node string, rev mesh.Revision) *mesh.Instance {
	inst := &mesh.Instance{
		ID:           r.ID,
		Service:      r.Service,
		Incarnation:  r.Incarnation,
		Address:      resolve(r.Address, r.Loopback, node),
		Port:         r.Port,
		Metadata:     maps.Clone(r.Metadata),
		Health:       r.Health,
		HealthOutput: r.HealthOutput,
		HealthAt:     r.HealthAt,
		HealthBy:     string(r.Verdict),
		Evidence:     r.evidence(),
		Lifetime:     r.Lifetime,
		TTL:          r.TTL,
		Draining:     r.Draining,
		Registrar:    r.Registrar,
		Node:         r.Node,
		RegisteredAt: r.RegisteredAt,
		Revision:     rev,
	}
	if r.Check != nil {
		c := *r.Check
		inst.Check = &c
	}
	return inst
}
