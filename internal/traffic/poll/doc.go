// Package poll carries connections on event loops. A connection of a loop that waits for its next
// request is its struct and a descriptor, and no goroutine; one whose exchange waits is suspended, and
// costs neither the scheduler nor the runtime's poller anything when it goes on.
//
// An exchange is written as if it blocked. It runs on a Carrier, a coroutine that the loop resumes when
// the descriptor that it waits for is ready. What would block otherwise (a dial, a handler of somebody
// else, a second goroutine) leaves the loop first: from then on the same calls block the goroutine that
// carries on, until the exchange is over.
//
// Loops exist on Linux. Elsewhere New returns ErrUnsupported, and a goroutine serves each connection.
//
// # Concurrency
//
// A Conn is safe for concurrent use as any net.Conn is, by one reader and one writer at a time. A Carrier
// belongs to the exchange that it runs.
package poll

import "errors"

// ErrUnsupported is a platform without loops.
var ErrUnsupported = errors.New("poll: no event loops on this platform")
