package vault

import (
	"context"
	"time"
)

// WrappedKey is a data key as stored: useless without the keeper.
type WrappedKey struct {
	KeyID   string // which master key wrapped it
	Wrapped []byte
}

// DataKey is a new data key. The receiver wipes Plain.
type DataKey struct {
	Plain []byte
	WrappedKey
}

// Keeper makes and unwraps data keys. Implementations are safe for concurrent
// use and return core.Unavailable when the key service cannot be reached and
// core.Corrupt when a wrapped key does not unwrap under its context.
type Keeper interface {
	// Generate returns a new 32-byte data key bound to kmsContext.
	Generate(ctx context.Context, kmsContext map[string]string) (DataKey, error)
	// Unwrap returns the plain data key, which the caller owns and wipes: a
	// keeper that caches hands out a copy.
	Unwrap(ctx context.Context, key WrappedKey, kmsContext map[string]string) ([]byte, error)
	// Check returns nil when the keeper could serve Generate now.
	Check(ctx context.Context) error
}

// Holder is a Keeper that can go on without its key service for a while.
type Holder interface {
	Keeper
	// Held is how many data keys Unwrap could return now without a call.
	Held() int
}

// Leaser is a Keeper that says for how long a backend may keep a data key.
type Leaser interface {
	Keeper
	// LeaseOf returns that for a key that Unwrap has just returned; 0 = not at all.
	LeaseOf(key WrappedKey, kmsContext map[string]string) time.Duration
}
