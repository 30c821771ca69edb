// Package http1 speaks HTTP/1.1 (RFC 9112) on both sides: to clients as Conn, to endpoints as Link.
//
// Its parsers are strict: what two implementations might read differently is refused, never repaired.
// Bytes stay where they were read: a head is slices over a pooled buffer, a body's pieces are the
// buffer itself, and a connection that waits for its next request holds no buffer at all. Framing is
// never copied through; each side writes its own.
//
// # Concurrency
//
// A Conn is served by one goroutine; an upload whose answer may come early adds one for its length.
// Drain and Abort may be called from others. A Link belongs to whoever took it from its Pool.
package http1
