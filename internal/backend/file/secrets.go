package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/internal/trust/token"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// loadSecrets reads both tokens, and makes those that are not there.
func loadSecrets(dir string) (admin, service string, err error) {
	if err := checkPrivate(dir, "700"); err != nil {
		return "", "", err
	}
	if admin, err = loadToken(filepath.Join(dir, adminName), identity.Admin); err != nil {
		return "", "", err
	}
	service, err = loadToken(filepath.Join(dir, serviceName), identity.Service)
	return admin, service, err
}

func loadToken(path string, role identity.Role) (string, error) {
	err := checkPrivate(path, "600")
	if errors.Is(err, fs.ErrNotExist) {
		t := token.New(role)
		return t, write(path, []byte(t+"\n"))
	}
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", access("read", path, err)
	}
	t := strings.TrimSpace(string(data))
	if !token.WellFormed(role, t) {
		return "", damaged(path, fmt.Sprintf("holds no %s token", role),
			"restore it from a backup, or move it away: the next start makes a new token")
	}
	return t, nil
}

// checkPrivate returns an error if other users may read or write path.
func checkPrivate(path, want string) error {
	info, err := os.Stat(path)
	if err != nil {
		return access("read", path, err)
	}
	if !exposed(info) {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: CodeExposed, Detail: fmt.Sprintf(
		"%s holds secrets and other users may open it (mode %#o); if they may know them, close it with \"chmod %s %s\", "+
			"otherwise move the tokens away too, so that the next start makes new ones", path, info.Mode().Perm(), want, path)}
}
