package file

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// nodeFile is node.json.
type nodeFile struct {
	ID string `json:"id"`
}

var nodeIDForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

const nodeRemedy = "restore it from a backup of this directory; the identity is what the stored records refer to"

// loadNode reads the node's identity, or makes it while the store is still empty.
func loadNode(path, store string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeNode(path, store)
	}
	if err != nil {
		return "", access("read", path, err)
	}
	var n nodeFile
	if err := json.Unmarshal(data, &n); err != nil {
		return "", damaged(path, "is not the JSON that it should be ("+err.Error()+")", nodeRemedy)
	}
	if !nodeIDForm.MatchString(n.ID) {
		return "", damaged(path, "holds no valid \"id\"", nodeRemedy)
	}
	return n.ID, nil
}

func makeNode(path, store string) (string, error) {
	entries, err := os.ReadDir(store)
	if err != nil {
		return "", access("read", store, err)
	}
	if len(entries) > 0 {
		return "", damaged(path, "is missing, though the store beside it has been used", nodeRemedy)
	}
	id := "n-" + strings.ToLower(rand.Text()[:16])
	data, err := json.Marshal(nodeFile{ID: id})
	if err != nil {
		return "", err
	}
	return id, write(path, append(data, '\n'))
}
