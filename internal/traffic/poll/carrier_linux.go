package poll

import "iter"

// Carrier runs one exchange at a time, as a coroutine of its loop.
type Carrier struct {
	loop *loop
	next func() (pause, bool)
	stop func()
	// yield suspends the coroutine; false once the loop has ended.
	yield func(pause) bool
	job   func()
	// onLoop says that the loop itself runs it: then it is suspended where a goroutine would block.
	onLoop bool
	// left of its share before others have their turn
	left int
}

// pause is why a coroutine gave control back.
type pause uint8

const (
	waits  pause = iota // somebody resumes it
	leaves              // it goes on in a goroutine of its own
	over                // the job is done
)

// share is how many reads and writes an exchange may make before the others of its loop get their turn.
const share = 16

func newCarrier(l *loop) *Carrier {
	k := &Carrier{loop: l}
	k.next, k.stop = iter.Pull(func(yield func(pause) bool) {
		k.yield = yield
		for {
			k.job()
			k.job = nil
			if !yield(over) {
				return
			}
		}
	})
	return k
}

// Home tells the loops apart: it is that of the carrier's loop, from 0 on.
func (k *Carrier) Home() int { return k.loop.id }

// Leave goes on in a goroutine of its own, for something that blocks. The exchange stays there. A nil
// Carrier is where the exchange has a goroutine already.
func (k *Carrier) Leave() {
	if k != nil && k.onLoop {
		k.yield(leaves)
	}
}

// suspend waits until the loop resumes the carrier.
func (k *Carrier) suspend() {
	k.yield(waits)
	k.left = share
}

// spend counts a read or a write, and lets the others of the loop go first when the share is spent.
func (k *Carrier) spend() {
	if k == nil || !k.onLoop {
		return
	}
	if k.left--; k.left <= 0 {
		k.loop.later(k)
		k.suspend()
	}
}
