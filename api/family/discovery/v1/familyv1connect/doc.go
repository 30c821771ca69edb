// Package familyv1connect holds client and handler of the service of the family's discovery.proto.
package familyv1connect
