// Package nodev1 holds the messages of node.proto: what a node tells of itself.
package nodev1
