// Package password hashes the passwords that people log in with, by argon2id. A hash takes 19 MiB and some 20 ms of a
// processor, so a Hasher computes few at once, lets a bounded number wait, and refuses those beyond. It stores nothing,
// and decides nothing beyond whether a password is the one of a verifier.
//
// Password texts are prepared by the profile OpaqueString of RFC 8265 before they are hashed: Unicode in its normal form C,
// and every kind of space as a space. So a password is the same from every keyboard. Case and width stay.
//
// The memory of argon2 is not wiped: its library keeps it to itself. It is no copy of the password.
package password

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// MaxLen is the longest password, in bytes.
	MaxLen = 1024
	// MinChars is the shortest password that can be set.
	MinChars = 8
	// AtOnce is how many hashes are computed at the same time.
	AtOnce = 2
	// MaxWaiting is how many more may wait for that: they are let through within a second.
	MaxWaiting = 32
)

// ErrBusy is in the chain of the Unavailable error of a hash for which there was no place.
var ErrBusy = core.Errorf(core.Unavailable, "too many passwords are being checked")

// Hasher computes hashes. It is safe for concurrent use.
type Hasher struct {
	cost    Cost
	dummy   parsed // matches no password
	slots   chan struct{}
	waiting atomic.Int32
	hashes  atomic.Uint64
}

// New returns a Hasher whose verifiers have a cost. The zero Cost is Current.
func New(c Cost) *Hasher {
	if c == (Cost{}) {
		c = Current
	}
	if !c.valid() {
		panic("password: internal error: the cost of new verifiers is out of range")
	}
	h := &Hasher{cost: c, dummy: parsed{cost: c, salt: make([]byte, saltLen), tag: make([]byte, tagLen)}, slots: make(chan struct{}, AtOnce)}
	// A random tag is the hash of a password that no client finds.
	_, _ = rand.Read(h.dummy.salt)
	_, _ = rand.Read(h.dummy.tag)
	return h
}

// Hashes returns how many hashes were computed.
func (h *Hasher) Hashes() uint64 { return h.hashes.Load() }

// Check returns an Invalid error for what cannot be set as a password. It quotes nothing.
func Check(text []byte) error {
	p, err := prepare(text)
	defer envelope.Wipe(p)
	if err == nil && utf8.RuneCount(p) < MinChars {
		err = core.Errorf(core.Invalid, "a password has at least %d characters", MinChars)
	}
	return err
}

// Make returns a verifier of a password with a new salt. The caller keeps text, and wipes it. Errors: Invalid, Unavailable
// (ErrBusy, or ctx ended before there was a place).
func (h *Hasher) Make(ctx context.Context, text []byte) (Verifier, error) {
	if err := Check(text); err != nil {
		return "", err
	}
	p, err := prepare(text)
	defer envelope.Wipe(p)
	if err != nil {
		return "", err
	}
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	h.hashes.Add(1)
	made := parsed{cost: h.cost, salt: make([]byte, saltLen)}
	if _, err := rand.Read(made.salt); err != nil {
		return "", core.Wrap(core.Internal, err, "read random bytes for a salt")
	}
	made.tag = argon2.IDKey(p, made.salt, made.cost.Passes, made.cost.MemoryKiB, made.cost.Lanes, tagLen)
	return made.verifier(), nil
}

// Matches reports whether text is the password of a verifier, and whether the verifier has another cost than new ones.
// Without a verifier nothing matches, and that takes the same hash. ready, which may be nil, is called when there is a place
// for the hash: after its error there is none. The caller keeps text, and wipes it. Errors: Corrupt, Unavailable as above, or
// that of ready.
func (h *Hasher) Matches(ctx context.Context, v Verifier, text []byte, ready func() error) (matches, outdated bool, err error) {
	against := h.dummy
	if v != "" {
		if against, err = parse(v); err != nil {
			return false, false, err
		}
	}
	p, perr := prepare(text)
	defer envelope.Wipe(p)
	if perr != nil { // it is no password, which must take as long as a wrong one
		p = nil
	}
	if err := h.acquire(ctx); err != nil {
		return false, false, err
	}
	defer h.release()
	if ready != nil {
		if err := ready(); err != nil {
			return false, false, err
		}
	}
	h.hashes.Add(1)
	matches = against.matches(p) && perr == nil && v != ""
	return matches, matches && against.cost != h.cost, nil
}

func (h *Hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > MaxWaiting {
		return ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return core.Wrap(core.Unavailable, ctx.Err(), "%s", ErrBusy.Msg)
	}
}

func (h *Hasher) release() { <-h.slots }

// prepare returns a copy of what is hashed of a password, for the caller to wipe, or an Invalid error without one.
func prepare(text []byte) ([]byte, error) {
	if len(text) == 0 || len(text) > MaxLen {
		return nil, core.Errorf(core.Invalid, "a password has between 1 and %d bytes", MaxLen)
	}
	in := bytes.Clone(text)
	defer envelope.Wipe(in)
	out, err := precis.OpaqueString.Bytes(in)
	defer envelope.Wipe(out)
	if err != nil || !utf8.Valid(in) { // the text of err may quote the password
		return nil, core.Errorf(core.Invalid, "a password is UTF-8 without control characters and unassigned code points")
	}
	return bytes.Clone(out), nil
}
