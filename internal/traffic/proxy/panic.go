package proxy

import (
	"fmt"
	"runtime/debug"
)

// panicked is a panic of a goroutine beside the exchange's own. It goes on in that one, where whoever
// serves the exchange contains it and logs it; in its own goroutine it would end the process.
type panicked struct {
	where string
	value any
	stack []byte
}

func newPanicked(where string, value any) *panicked { return &panicked{where, value, debug.Stack()} }

// Error returns the panic with the stack that it came from.
func (p *panicked) Error() string {
	return fmt.Sprintf("%v, in %s:\n%s", p.value, p.where, p.stack)
}
