package client

import (
	"bytes"
	"container/list"
	"context"
	"sync"
	"time"
)

// CacheOptions are the policy of a Cache. Each zero value is the careful choice.
type CacheOptions struct {
	// Fresh is for how long a value is served without a request. Zero reads each time.
	Fresh time.Duration
	// SurviveFor is for how long after its last read a value is served while the vault is away. Zero never does.
	SurviveFor time.Duration
	// MaxEntries and MaxBytes bound what is kept. What was used least recently goes first. Zero is 1000 and 16 MiB.
	MaxEntries int
	MaxBytes   int

	now func() time.Time // for tests
}

// Cache keeps values in memory. It serves a kept one while the vault is unreachable or unavailable, as its options allow;
// StaleSince of the value then says so. Any other failure drops what is kept: a caller that lost the right to a secret does not
// get it from here. Values are wiped when they go. A Cache is safe for concurrent use.
type Cache struct {
	c *Client
	o CacheOptions

	mu      sync.Mutex
	entries map[string]*list.Element // of *cached
	order   *list.List               // least recently used last
	bytes   int
	reading map[string]*reads
}

// reads are those of one secret that are under way.
type reads struct {
	count   int
	changed bool // since the first of them began, so that what they return may be old
}

type cached struct {
	value  Value
	readAt time.Time
}

// NewCache returns an empty cache of c's values.
func NewCache(c *Client, o CacheOptions) *Cache {
	if o.MaxEntries <= 0 {
		o.MaxEntries = 1000
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 16 << 20
	}
	if o.now == nil {
		o.now = time.Now
	}
	return &Cache{c: c, o: o, entries: map[string]*list.Element{}, order: list.New(), reading: map[string]*reads{}}
}

// Get returns the current value of a secret. It is a copy, which the caller wipes.
func (k *Cache) Get(ctx context.Context, name string) (*Value, error) {
	if v := k.kept(name, k.o.Fresh); v != nil {
		return v, nil
	}
	readAt := k.o.now()
	v, err := k.read(ctx, name, readAt)
	if err == nil {
		return v, nil
	}
	if !outage(err) {
		k.Forget(name)
		return nil, err
	}
	if old := k.kept(name, k.o.SurviveFor); old != nil {
		return old, nil
	}
	return nil, err
}

// read reads a value and keeps it, unless it has changed meanwhile.
func (k *Cache) read(ctx context.Context, name string, readAt time.Time) (*Value, error) {
	k.mu.Lock()
	r := k.reading[name]
	if r == nil {
		r = &reads{}
		k.reading[name] = r
	}
	r.count++
	k.mu.Unlock()
	v, err := k.c.Get(ctx, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.count--; r.count == 0 {
		delete(k.reading, name)
	}
	if err == nil && !r.changed {
		k.keep(v, readAt)
	}
	return v, err
}

// outage reports whether the vault is away, as opposed to refusing.
func outage(err error) bool {
	code := CodeOf(err)
	return code == Unavailable || code == Unreachable
}

// kept returns a copy of what was read within the given time.
func (k *Cache) kept(name string, within time.Duration) *Value {
	k.mu.Lock()
	defer k.mu.Unlock()
	at, ok := k.entries[name]
	if !ok || within <= 0 {
		return nil
	}
	e := at.Value.(*cached)
	age := k.o.now().Sub(e.readAt)
	if age < 0 || age >= within {
		return nil
	}
	k.order.MoveToFront(at)
	v := e.value
	v.Bytes = bytes.Clone(v.Bytes)
	if age >= k.o.Fresh {
		v.StaleSince = e.readAt
	}
	return &v
}

func (k *Cache) keep(v *Value, readAt time.Time) {
	if len(v.Bytes) > k.o.MaxBytes || k.o.Fresh <= 0 && k.o.SurviveFor <= 0 {
		return
	}
	if at, ok := k.entries[v.Name]; ok {
		if at.Value.(*cached).readAt.After(readAt) {
			return // a later read has finished before this one
		}
		k.drop(at)
	}
	e := &cached{value: *v, readAt: readAt}
	e.value.Bytes = bytes.Clone(v.Bytes)
	k.entries[v.Name] = k.order.PushFront(e)
	k.bytes += len(v.Bytes)
	for k.order.Len() > k.o.MaxEntries || k.bytes > k.o.MaxBytes {
		k.drop(k.order.Back())
	}
}

func (k *Cache) drop(at *list.Element) {
	e := k.order.Remove(at).(*cached)
	delete(k.entries, e.value.Name)
	k.bytes -= len(e.value.Bytes)
	e.value.Wipe()
}

// Forget wipes what is kept of a secret.
func (k *Cache) Forget(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at, ok := k.entries[name]; ok {
		k.drop(at)
	}
	if r := k.reading[name]; r != nil {
		r.changed = true
	}
}

// Clear wipes everything. Call it when the cache is no longer used.
func (k *Cache) Clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.order.Len() > 0 {
		k.drop(k.order.Back())
	}
}

// Follow drops what changes, as the event stream says, until ctx ends. With it a long Fresh stays exact, but for the
// moment that an event takes. While no stream is open, nothing is known to be fresh, so Follow drops everything that may
// not survive an outage.
func (k *Cache) Follow(ctx context.Context, prefix string) error {
	o := WatchOptions{Prefix: prefix, OnDisconnect: func(error) { k.age() }}
	for e, err := range k.c.Watch(ctx, o) {
		switch {
		case err != nil:
			k.age()
			return err
		case e.Reset:
			k.age()
		default:
			k.Forget(e.Name)
		}
	}
	return ctx.Err()
}

// age makes what is kept no longer fresh, and drops it unless it may survive an outage.
func (k *Cache) age() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.reading {
		r.changed = true
	}
	for at := k.order.Front(); at != nil; {
		next := at.Next()
		e := at.Value.(*cached)
		e.readAt = e.readAt.Add(-k.o.Fresh)
		if k.o.now().Sub(e.readAt) >= k.o.SurviveFor {
			k.drop(at)
		}
		at = next
	}
}
