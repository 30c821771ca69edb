// Package websocket knows as much of the WebSocket protocol (RFC 6455) as one needs who carries it without
// being an end of it: whether a handshake is one, where a frame ends and the next begins, and how to say
// that it is over. Payload is never looked at: whether text is valid UTF-8, and what a close frame says, is
// the business of the ends.
//
// # Concurrency
//
// Functions are pure. A Scanner belongs to whoever carries its direction.
package websocket
