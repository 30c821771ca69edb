// Package discoveryv1 holds the messages of discovery.proto: the registry as clients see it.
package discoveryv1
