// Package nodev1connect holds client and handler of the service of node.proto.
package nodev1connect
