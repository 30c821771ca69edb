// Package familyv1 holds the messages of the family's discovery.proto.
package familyv1
