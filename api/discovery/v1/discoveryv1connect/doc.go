// Package discoveryv1connect holds client and handler of the service of discovery.proto.
package discoveryv1connect
