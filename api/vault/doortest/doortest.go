// Package doortest has strict in-memory stand-ins for what the door depends on,
// for tests of the door and of its transports. They keep what they handed out, so
// that a test can see whether it was wiped.
package doortest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Recorder keeps the records. Safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	entries []vault.Entry
	fail    func(vault.Entry) error
}

// Record implements vault.Recorder.
func (r *Recorder) Record(ctx context.Context, entries ...vault.Entry) error {
	if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
		return fmt.Errorf("a record needs a context with a deadline that is not over: %w", ctx.Err())
	}
	r.mu.Lock()
	fail := r.fail
	r.mu.Unlock()
	for _, e := range entries {
		if fail != nil {
			if err := fail(e); err != nil {
				return err
			}
		}
		r.add(e)
	}
	return nil
}

func (r *Recorder) add(e vault.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
}

// FailWith makes every further Record call f first. nil ends that.
func (r *Recorder) FailWith(f func(vault.Entry) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = f
}

// Take returns the records since the last Take, those of changes included.
func (r *Recorder) Take() []vault.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.entries
	r.entries = nil
	return out
}

// Keeper wraps keys by remembering them.
type Keeper struct {
	mu      sync.Mutex
	wrapped map[string]wrapped
	out     [][]byte
	fail    func(op string) error
}

type wrapped struct {
	key     []byte
	context map[string]string
}

// Generate implements vault.Keeper.
func (k *Keeper) Generate(_ context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	if err := k.failing("generate"); err != nil {
		return vault.DataKey{}, err
	}
	key, err := envelope.NewDEK()
	if err != nil {
		return vault.DataKey{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrapped == nil {
		k.wrapped = map[string]wrapped{}
	}
	blob := fmt.Sprintf("wrapped-%d", len(k.wrapped))
	k.wrapped[blob] = wrapped{key: bytes.Clone(key), context: maps.Clone(kmsContext)}
	k.out = append(k.out, key)
	return vault.DataKey{Plain: key, WrappedKey: vault.WrappedKey{KeyID: "test-key", Wrapped: []byte(blob)}}, nil
}

// Unwrap implements vault.Keeper.
func (k *Keeper) Unwrap(_ context.Context, w vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	if err := k.failing("unwrap"); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.wrapped[string(w.Wrapped)]
	if !ok || w.KeyID != "test-key" || !maps.Equal(known.context, kmsContext) {
		return nil, core.Errorf(core.Corrupt, "the data key does not unwrap")
	}
	key := bytes.Clone(known.key)
	k.out = append(k.out, key)
	return key, nil
}

// Check implements vault.Keeper.
func (k *Keeper) Check(context.Context) error { return k.failing("check") }

// FailWith makes every further call ask f first, with "generate", "unwrap" or
// "check"; f may panic. nil ends that.
func (k *Keeper) FailWith(f func(op string) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = f
}

func (k *Keeper) failing(op string) error {
	k.mu.Lock()
	f := k.fail
	k.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op)
}

// HandedOut returns how many plain keys were given away, and how many of them are
// not wiped.
func (k *Keeper) HandedOut() (all, unwiped int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.out {
		if !IsWiped(key) {
			unwiped++
		}
	}
	return len(k.out), unwiped
}

// IsWiped reports whether all bytes are zero.
func IsWiped(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// sorted returns the secrets below a prefix, after a name.
func (s *Store) sorted(prefix, after string) []vault.SecretResult {
	var out []vault.SecretResult
	for _, x := range s.secrets {
		if n := x.info.Name; core.HasPrefix(n, prefix) && string(n) > after {
			out = append(out, x.result())
		}
	}
	slices.SortFunc(out, func(a, b vault.SecretResult) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out
}
