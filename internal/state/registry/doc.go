// Package registry keeps the record of which instances exist, and the soft knowledge of which of them
// are alive.
package registry
