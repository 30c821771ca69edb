//go:build !unix

package main

import "errors"

// holdStore is not possible here.
func holdStore(string) (release func() error, err error) {
	return nil, errors.New("hold the store: this needs a system with flock")
}
