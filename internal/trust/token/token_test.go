package token_test

import (
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/trust/token"
)

func TestNewMakesDistinctReadableTokens(t *testing.T) {
	admin, service := token.New(identity.Admin), token.New(identity.Service)
	if !strings.HasPrefix(admin, "toska-admin-") || !strings.HasPrefix(service, "toska-service-") {
		t.Errorf("New = %q and %q, want the prefixes toska-admin- and toska-service-", admin, service)
	}
	if again := token.New(identity.Admin); again == admin {
		t.Errorf("New returned %q twice", again)
	}
	if bits := len(strings.TrimPrefix(admin, "toska-admin-")) * 5; bits < 256 {
		t.Errorf("New(admin) carries %d bits, want at least 256", bits)
	}
}

func TestWellFormed(t *testing.T) {
	admin := token.New(identity.Admin)
	for _, tc := range []struct {
		name  string
		token string
		want  bool
	}{
		{"a fresh token", admin, true},
		{"an empty one", "", false},
		{"the other role's", token.New(identity.Service), false},
		{"one that lost its end", admin[:len(admin)-4], false},
		{"one with a line break", admin + "\n", false},
		{"one in capitals", strings.ToUpper(admin), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := token.WellFormed(identity.Admin, tc.token); got != tc.want {
				t.Errorf("WellFormed(admin, %q) = %v, want %v", tc.token, got, tc.want)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	admin, service := token.New(identity.Admin), token.New(identity.Service)
	for _, tc := range []struct {
		name     string
		verifier *token.Verifier
		token    string
		role     identity.Role
		ok       bool
	}{
		{"the admin token proves an admin", token.NewVerifier(admin, service), admin, identity.Admin, true},
		{"the service token proves a service", token.NewVerifier(admin, service), service, identity.Service, true},
		{"another token proves nothing", token.NewVerifier(admin, service), token.New(identity.Admin), identity.Anonymous, false},
		{"no token proves nothing", token.NewVerifier(admin, service), "", identity.Anonymous, false},
		{"a prefix of the token proves nothing", token.NewVerifier(admin, service), admin[:len(admin)-1], identity.Anonymous, false},
		{"no token proves nothing where none is set", token.NewVerifier("", ""), "", identity.Anonymous, false},
		{"the service token works where no admin token is set", token.NewVerifier("", service), service, identity.Service, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			role, ok := tc.verifier.Verify(tc.token)
			if role != tc.role || ok != tc.ok {
				t.Errorf("Verify = %v, %v, want %v, %v", role, ok, tc.role, tc.ok)
			}
		})
	}
}
