// Package problemv1 holds the messages of problem.proto: what an error says beyond its status.
package problemv1
