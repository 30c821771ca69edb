package probe

import "container/heap"

// queue is a heap of entries, the one that is due first at its front.
type queue []*entry

func (q *queue) add(e *entry) {
	e.in = q
	heap.Push(q, e)
}

// first takes the first off the heap.
func (q *queue) first() *entry {
	e, _ := heap.Pop(q).(*entry)
	return e
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	e, _ := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.in = nil
	return e
}
