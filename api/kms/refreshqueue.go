package kms

import (
	"container/heap"
	"time"
)

// refreshQueue holds the entries that the inner keeper owes an answer for and that are not being refreshed now.
// Entries whose pause is over are taken in the order in which they expire, not in that of their use. After an outage
// not all of them can be refreshed at once, and a key in frequent use must not displace one that expires before.
// Cache.mu guards it.
type refreshQueue struct {
	due   entryHeap // by end
	later entryHeap // by the end of their pause
}

func newRefreshQueue(k *Cache) refreshQueue {
	return refreshQueue{
		due:   entryHeap{before: func(a, b *entry) bool { return k.end(a).Before(k.end(b)) }},
		later: entryHeap{before: func(a, b *entry) bool { return a.refresh.Before(b.refresh) }},
	}
}

// add takes in e, which is in no queue. Its end and refresh must not change while it is in.
func (q *refreshQueue) add(e *entry) { q.later.add(e) }

// remove takes out e, if it is in.
func (q *refreshQueue) remove(e *entry) {
	if e.queue != nil {
		heap.Remove(e.queue, e.place)
	}
}

// next takes out the entry that ends first of those that are due; nil = none is.
func (q *refreshQueue) next(now time.Time) *entry {
	for q.later.Len() > 0 && !now.Before(q.later.all[0].refresh) {
		q.due.add(heap.Pop(&q.later).(*entry))
	}
	if q.due.Len() == 0 {
		return nil
	}
	return heap.Pop(&q.due).(*entry)
}

// entryHeap implements heap.Interface; an entry knows where it is.
type entryHeap struct {
	before func(a, b *entry) bool
	all    []*entry
}

func (h *entryHeap) add(e *entry) { heap.Push(h, e) }

// Len implements heap.Interface.
func (h *entryHeap) Len() int { return len(h.all) }

// Less implements heap.Interface.
func (h *entryHeap) Less(i, j int) bool { return h.before(h.all[i], h.all[j]) }

// Swap implements heap.Interface.
func (h *entryHeap) Swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	h.all[i].place, h.all[j].place = i, j
}

// Push implements heap.Interface.
func (h *entryHeap) Push(x any) {
	e := x.(*entry)
	e.queue, e.place = h, len(h.all)
	h.all = append(h.all, e)
}

// Pop implements heap.Interface.
func (h *entryHeap) Pop() any {
	last := len(h.all) - 1
	e := h.all[last]
	h.all[last] = nil
	h.all = h.all[:last]
	e.queue = nil
	return e
}
