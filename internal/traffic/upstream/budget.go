package upstream

import "sync/atomic"

// Budget bounds retries to a share of the requests: an upstream that fails altogether gets no more than
// that on top. It is safe for concurrent use.
type Budget struct{ tokens atomic.Int64 } // in thousandths of a retry

const (
	// budgetReserve is what a fresh or quiet upstream may retry at once, budgetMost what it can save.
	budgetReserve = 10_000
	budgetMost    = 100_000
)

// newBudget returns a budget with its reserve.
func newBudget() *Budget {
	b := &Budget{}
	b.tokens.Store(budgetReserve)
	return b
}

// Request counts a request, which earns a share of a retry.
func (b *Budget) Request(share float64) {
	if b.tokens.Load() < budgetMost {
		b.tokens.Add(int64(share * 1000))
	}
}

// Retry reports whether a retry may be made, and spends it.
func (b *Budget) Retry() bool {
	for {
		n := b.tokens.Load()
		if n < 1000 {
			return false
		}
		if b.tokens.CompareAndSwap(n, n-1000) {
			return true
		}
	}
}
