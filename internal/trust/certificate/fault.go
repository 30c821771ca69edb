package certificate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// Codes of what can be wrong with the material of TLS.
const (
	// CodePair is a certificate or a key that cannot be used.
	CodePair = "TOSKA-TLS-CERTIFICATE"
	// CodeExpiry is a certificate that is about to expire, has expired, or is not valid yet.
	CodeExpiry = "TOSKA-TLS-EXPIRY"
	// CodeTrust is a file of trusted authorities that cannot be used: nobody is believed by it.
	CodeTrust = "TOSKA-TLS-TRUST"
)

// maxFile bounds what is read of one file: a chain is some kilobytes, the authorities of a whole system
// some hundreds.
const maxFile = 4 << 20

// fault returns an error of kind mesh.ErrInvalid that names the file, what is wrong with it, and what to
// do.
func fault(code, file, problem, remedy string, cause error) error {
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: code, Cause: cause, Detail: file + ": " + problem + "; " + remedy}
}

// read returns what a file holds, or the fault of one that cannot be read or is empty.
func read(code, file string) ([]byte, error) {
	data, err := readFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault(code, file, "there is no such file", "put it there, or name another one", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fault(code, file, "this user may not read the file", "give the user that runs the node the right to", err)
	case err != nil:
		return nil, fault(code, file, "the file cannot be read: "+err.Error(), "put a readable one there", err)
	case len(data) == 0:
		return nil, fault(code, file, "the file is empty", "put what it should hold there, in PEM form", nil)
	}
	return data, nil
}

func readFile(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("it has %d bytes, and at most %d are read", info.Size(), maxFile)
	}
	return os.ReadFile(file)
}

// stamp tells one state of files from another.
type stamp []os.FileInfo // nil where there is none

func stampOf(files ...string) stamp {
	s := make(stamp, len(files))
	for i, f := range files {
		if info, err := os.Stat(f); err == nil {
			s[i] = info
		}
	}
	return s
}

func (s stamp) same(o stamp) bool {
	if len(s) != len(o) {
		return false
	}
	for i := range s {
		a, b := s[i], o[i]
		if (a == nil) != (b == nil) {
			return false
		}
		if a != nil && (!os.SameFile(a, b) || !a.ModTime().Equal(b.ModTime()) || a.Size() != b.Size() || a.Mode() != b.Mode()) {
			return false
		}
	}
	return true
}
