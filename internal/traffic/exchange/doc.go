// Package exchange is the port between a protocol and what answers it: one request and its answer,
// whatever carried them. http1 hands exchanges inward today; http2 will hand in the same ones.
//
// A request's head is byte slices over one buffer that the protocol owns; its body is pulled, so that
// flow control reaches back to the sender. exchangetest is the conformance suite.
//
// # Concurrency
//
// An Exchange belongs to the goroutine that serves it. Its Body and its Answer may be used by two
// goroutines at the same time, one each.
package exchange
