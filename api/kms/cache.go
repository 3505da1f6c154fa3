package kms

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	defaultMaxKeys     = 16384
	defaultCallTimeout = 10 * time.Second
	// cacheLabel begins what names an entry.
	cacheLabel = "hyperion-vault/dek-cache/v1"
)

// CacheConfig says how long and how many data keys are kept. The zero value keeps none.
type CacheConfig struct {
	// TTL is how long a key is kept after the inner keeper was last asked for it and gave it. While the inner keeper is
	// asked and gives no answer, a key that is used is kept for one TTL more at most. 0 keeps none: every Unwrap is a call.
	TTL time.Duration
	// MaxKeys bounds the keys kept, 32 bytes of locked memory each; the least recently used one goes first. 0 = 16384.
	MaxKeys int
	// CallTimeout bounds one call, also one made for several callers, whose own deadlines do not count for it. 0 = 10 s.
	CallTimeout time.Duration
	// Clock tells the time; nil = the system's.
	Clock vault.Clock
}

// Cache is a keeper that keeps what another keeper unwrapped, so that reads go on while the key service is away and
// do not wait for it. It keeps data keys and never values, and only keys that were asked for by Unwrap: a key made by
// Generate is not kept, because the version it is for may never be stored, and a write says nothing of reads.
//
// A key that is used is refreshed from half of its TTL on. What the inner keeper says to that decides:
//
//   - yes: the key is kept for another TTL.
//   - no (denied, disabled, gone, damaged): the key is wiped at once. So revoking a key takes effect within the TTL.
//   - nothing (away, hanging, throttling, failing): the key is kept for one TTL from when it was first asked for in vain.
//     So an outage shorter than the TTL is not felt by who reads a key at least once in each half of a TTL.
//   - anything else: the key stays until its TTL is over.
//
// Many callers that miss one key wait for one call. Safe for concurrent use.
type Cache struct {
	c     CacheConfig
	inner *meter
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	slots      *keySlots // nil when nothing is kept
	entries    map[entryID]*entry
	used       *list.List // of *entry, the most recently used first
	flights    map[entryID]*flight
	queue      refreshQueue
	refreshing int
	count      counts

	ready readiness
}

var _ vault.Keeper = (*Cache)(nil)

// entryID is a digest of everything that decides what an Unwrap returns.
type entryID [sha256.Size]byte

// flight is one call that callers wait for. The last of them wipes key.
type flight struct {
	done    chan struct{}
	ended   bool
	waiting int
	key     []byte
	err     error
	tried   *attempts // of the call
}

// NewCache returns a Cache around inner, which the Cache owns from now on: Close closes it. The caller closes the
// Cache. core.Unavailable when there is no memory for the keys.
func NewCache(inner vault.Keeper, c CacheConfig) (*Cache, error) {
	if c.MaxKeys <= 0 {
		c.MaxKeys = defaultMaxKeys
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = defaultCallTimeout
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	k := &Cache{
		c: c, inner: &meter{inner: inner, now: c.Clock}, entries: map[entryID]*entry{}, used: list.New(), flights: map[entryID]*flight{}}
	k.queue = newRefreshQueue(k)
	k.ctx, k.stop = context.WithCancel(context.Background())
	if c.TTL <= 0 {
		return k, nil
	}
	var err error
	if k.slots, err = newKeySlots(c.MaxKeys); err != nil {
		return nil, core.Wrap(core.Unavailable, err, "no memory for data keys")
	}
	k.tasks.Go(k.sweepUntilClosed)
	return k, nil
}

// Locked reports whether the kept keys' memory is locked against swapping; true when none are kept.
func (k *Cache) Locked() bool { return k.slots == nil || k.slots.locked }

// Generate asks the inner keeper; nothing of its answer is kept. It takes no longer than a call that is shared: a write
// may have more time than a read, for the sake of the database and not of the key service.
func (k *Cache) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	if k.ctx.Err() != nil {
		return vault.DataKey{}, errCacheClosed()
	}
	ctx, cancel := context.WithTimeout(ctx, k.c.CallTimeout)
	defer cancel()
	return k.inner.Generate(ctx, kmsContext)
}

// Unwrap returns a copy of the data key, which the caller wipes. Errors as the inner keeper's; one of a shared call
// goes to all that waited for it. core.Unavailable after Close.
func (k *Cache) Unwrap(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	if k.ctx.Err() != nil {
		return nil, errCacheClosed()
	}
	if k.slots == nil {
		return k.inner.Unwrap(ctx, key, kmsContext)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id := idOf(key, kmsContext)
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return nil, errCacheClosed()
	}
	now := k.c.Clock()
	if e := k.entries[id]; e != nil && now.Before(k.end(e)) {
		plain := k.hit(e)
		k.want(e, key, kmsContext, now)
		k.mu.Unlock()
		return plain, nil
	}
	f := k.join(id, key, kmsContext)
	k.mu.Unlock()
	return k.await(ctx, f)
}

// hit returns a copy of the key of e; k.mu is held.
func (k *Cache) hit(e *entry) []byte {
	k.count.hits++
	k.used.MoveToFront(e.at)
	return bytes.Clone(k.slots.key(e.slot))
}

// join makes the caller wait for the call that fetches id, and starts it when there is none; k.mu is held.
func (k *Cache) join(id entryID, key vault.WrappedKey, kmsContext map[string]string) *flight {
	k.count.misses++
	f := k.flights[id]
	if f == nil {
		f = &flight{done: make(chan struct{}), tried: &attempts{}}
		k.flights[id] = f
		ask := copyOf(key, kmsContext)
		k.tasks.Go(func() { k.fetch(id, f, ask) })
	} else {
		k.count.shared++
	}
	f.waiting++
	return f
}

// request is a copy of what a caller asked: it may reuse its buffers once it has gone away.
type request struct {
	key     vault.WrappedKey
	context map[string]string
}

func copyOf(key vault.WrappedKey, kmsContext map[string]string) request {
	return request{vault.WrappedKey{KeyID: key.KeyID, Wrapped: bytes.Clone(key.Wrapped)}, maps.Clone(kmsContext)}
}

// call asks the inner keeper, detached from every caller: the first one's end must not fail the others.
func (k *Cache) call(r request, tried *attempts) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(k.ctx, attemptsKey{}, tried), k.c.CallTimeout)
	defer cancel()
	plain, err := k.inner.Unwrap(ctx, r.key, r.context)
	if err == nil && len(plain) != envelope.KeySize {
		envelope.Wipe(plain)
		return nil, core.Errorf(core.Corrupt, "the data key has a wrong length")
	}
	return plain, err
}

func (k *Cache) fetch(id entryID, f *flight, r request) {
	begun := k.c.Clock()
	plain, err := k.call(r, f.tried)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.flights, id)
	if err == nil && !k.closed {
		k.keep(id, plain, begun)
	}
	f.key, f.err, f.ended = plain, err, true
	if f.waiting == 0 {
		envelope.Wipe(f.key)
	}
	close(f.done)
}

// await returns a copy of what the flight brings, unless ctx ends first.
func (k *Cache) await(ctx context.Context, f *flight) ([]byte, error) {
	err := error(nil)
	select {
	case <-f.done:
	case <-ctx.Done():
		err = f.tried.givenUp(ctx.Err())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f.waiting--
	var plain []byte
	if err == nil {
		if err = f.err; err == nil {
			plain = bytes.Clone(f.key)
		}
	}
	if f.waiting == 0 && f.ended {
		envelope.Wipe(f.key)
	}
	return plain, err
}

// Close wipes every key, ends what is in flight and closes the inner keeper. It may be called twice.
func (k *Cache) Close() error {
	k.stop()
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	k.mu.Unlock()
	k.tasks.Wait()
	if !first {
		return nil
	}
	var err error
	if k.slots != nil {
		k.mu.Lock()
		clear(k.entries)
		k.queue = newRefreshQueue(k)
		k.used.Init()
		err = k.slots.free()
		k.mu.Unlock()
	}
	if c, ok := k.inner.inner.(io.Closer); ok {
		if cerr := c.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

func errCacheClosed() error {
	return core.Errorf(core.Unavailable, "the data keys have been wiped: shutting down")
}

// idOf names an entry. Everything that decides the answer is in it, length before content, so that no row can be
// given the key of another.
func idOf(key vault.WrappedKey, kmsContext map[string]string) entryID {
	b := contextAAD(cacheLabel, kmsContext)
	b = appendString(b, key.KeyID)
	b = appendString(b, string(key.Wrapped))
	return sha256.Sum256(b)
}
