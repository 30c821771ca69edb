//go:build !unix

package http1

import "errors"

// rawReads is off where the runtime reads by completion: the connection is read as any other.
const rawReads = false

func rawRead(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func wouldBlock(error) bool { return false }

func rawPeek(uintptr, []byte) error { return errors.ErrUnsupported }
