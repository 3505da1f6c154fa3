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

// CacheConfig says how long and how many data keys are kept. The zero CacheConfig keeps none.
type CacheConfig struct {
	// TTL is how long a key is kept after the inner keeper last returned it. While the inner keeper is called and
	// gives no answer, a key that is in use is kept for at most one more TTL. With 0 no key is kept, and every Unwrap
	// is a call.
	TTL time.Duration
	// MaxKeys bounds the keys kept. Each takes 32 bytes of locked memory. The least recently used key is evicted first.
	// 0 = 16384.
	MaxKeys int
	// CallTimeout bounds one call. A call made for several callers has no other limit, because their own deadlines do
	// not count for it. 0 = 10 s.
	CallTimeout time.Duration
	// Unkept is how long a backend may keep a data key if this cache keeps none. It is 0 unless the inner keeper holds
	// its master key itself, which can then open the data key at any time.
	Unkept time.Duration
	// Revoked is called after the inner keeper has said that a key must not be used. nil = nothing is called.
	Revoked func()
	// Clock returns the time; nil = time.Now.
	Clock vault.Clock
}

// Cache is a keeper that keeps what another keeper unwrapped, so that reads continue while the key service is away
// and do not wait for it. It keeps data keys and never values, and only keys that Unwrap returned. A key made by
// Generate is not kept, because the version that it is for may never be stored, and a write says nothing about reads.
//
// A key in use is refreshed when half of its TTL is over. The answer of the inner keeper decides:
//
//   - yes: the key is kept for another TTL.
//   - no (denied, disabled, gone, damaged): the key is wiped at once. So revoking a key takes effect within the TTL.
//   - silence (away, hanging, throttling, failing): the key is kept for one TTL, counted from the first call without an
//     answer. A key that is read at least once every TTL/2 therefore survives any outage shorter than the TTL.
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
	due        []dueEntry // the soonest to end first; some may be gone
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

// NewCache returns a Cache around inner. The Cache owns inner from now on, and Close closes it. The caller closes the
// Cache. The error is core.Unavailable when there is no memory for the keys; inner then stays the caller's.
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

// Locked reports whether the memory of the kept keys is locked against swapping. It is true when no keys are kept.
func (k *Cache) Locked() bool { return k.slots == nil || k.slots.locked }

// Generate calls the inner keeper and keeps nothing of its answer. The caller wipes the key. CallTimeout bounds the
// call, because the longer deadline of a write is for the database and not for the key service. The errors are those
// of the inner keeper, and core.Unavailable after Close.
func (k *Cache) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	if k.ctx.Err() != nil {
		return vault.DataKey{}, errCacheClosed()
	}
	ctx, cancel := context.WithTimeout(ctx, k.c.CallTimeout)
	defer cancel()
	return k.inner.Generate(ctx, kmsContext)
}

// Unwrap returns a copy of the data key, which the caller wipes. The errors are those of the inner keeper. The error
// of a shared call goes to all callers that waited for it. After Close the error is core.Unavailable.
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

// call calls the inner keeper, detached from every caller, because the end of the first one must not fail the others.
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
	startedAt := k.c.Clock()
	plain, err := k.call(r, f.tried)
	if verdictOf(err) == no && core.CodeOf(err) != core.Corrupt { // a damaged row says nothing about other keys
		k.notifyRevoked()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.flights, id)
	if err == nil && !k.closed {
		k.keep(id, plain, startedAt)
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

// Close wipes every key, cancels the calls in flight, waits for their end and closes the inner keeper. It may be called
// twice. The error is that of releasing the memory or of closing the inner keeper.
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
		k.due = nil
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
	b = appendString(b, key.Wrapped)
	return sha256.Sum256(b)
}
