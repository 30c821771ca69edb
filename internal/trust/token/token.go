// Package token makes the mesh's secrets and recognises them.
//
// # Concurrency
//
// A Verifier is immutable and safe for concurrent use.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
)

// size is how many random bytes a token carries: 256 bits cannot be guessed.
const size = 32

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// New returns a fresh random token for the role. Its prefix tells people and secret scanners what it
// is: "toska-admin-…" or "toska-service-…".
func New(role identity.Role) string {
	var b [size]byte
	_, _ = rand.Read(b[:]) // documented to never fail
	return prefix(role) + strings.ToLower(encoding.EncodeToString(b[:]))
}

// WellFormed reports whether s has the form of a token that New made for the role. It says nothing
// about whether it is the right one.
func WellFormed(role identity.Role, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix(role))
	if !ok || rest != strings.ToLower(rest) || len(rest) != encoding.EncodedLen(size) {
		return false
	}
	b, err := encoding.DecodeString(strings.ToUpper(rest))
	return err == nil && len(b) == size // the decoder skips line breaks
}

func prefix(role identity.Role) string { return "toska-" + role.String() + "-" }

// Verifier recognises the admin and the service token.
type Verifier struct {
	admin, service *[sha256.Size]byte // nil for a token that nobody has
}

// NewVerifier returns a Verifier of the two tokens. An empty token is never recognised.
func NewVerifier(admin, service string) *Verifier {
	return &Verifier{admin: digest(admin), service: digest(service)}
}

func digest(token string) *[sha256.Size]byte {
	if token == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	return &sum
}

// Verify returns the role that the token proves. It is false for any other token, including the empty
// one. The time that it takes does not depend on how much of the token is right.
func (v *Verifier) Verify(token string) (identity.Role, bool) {
	sum := sha256.Sum256([]byte(token))
	admin, service := equal(v.admin, &sum), equal(v.service, &sum)
	switch {
	case admin:
		return identity.Admin, true
	case service:
		return identity.Service, true
	default:
		return identity.Anonymous, false
	}
}

func equal(want, got *[sha256.Size]byte) bool {
	return want != nil && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
