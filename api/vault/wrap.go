package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// The actions of wrapped answers.
const (
	ActionWrap       Action = "wrap"
	ActionUnwrap     Action = "unwrap"
	ActionWrapLookup Action = "wrap_lookup"
)

// MaxWrapTTL is the longest that a wrapped answer waits.
const MaxWrapTTL = 7 * 24 * time.Hour

// maxWrapPath is the longest path of a request that is kept; what is longer is cut.
const maxWrapPath = 2048

// actorWrapping is who takes a wrapped answer with nothing but its token.
const actorWrapping = "wrapping"

// WrapRequest is an answer to keep for the holder of a wrapping token. The answer stays the caller's.
type WrapRequest struct {
	Answer []byte
	Name   string // of the secret that it is about, unchecked; "" = none
	Path   string // of the request
	TTL    time.Duration
}

// Wrapped is a wrapped answer, without the answer.
type Wrapped struct {
	ID        [16]byte // the accessor, which takes nothing
	Name      string
	Path      string
	CreatedAt time.Time
	ExpiresAt time.Time
	Position  core.Position // of the change that returned this; zero when it was read
}

// TTL is how long the answer was to wait.
func (w Wrapped) TTL() time.Duration { return w.ExpiresAt.Sub(w.CreatedAt).Round(time.Second) }

// StoredWrapped is a wrapped answer as it is stored.
type StoredWrapped struct {
	Wrapped
	WrappedKey
	envelope.Sealed
}

// NewWrapped is an answer to store. The text of its token is never stored.
type NewWrapped struct {
	StoredWrapped
	Fingerprint [32]byte // SHA-256 of the wrapping token
	TTL         time.Duration
	Replaced    [32]byte // fingerprint of the token of the answer that this takes the place of; zero = none
}

// Wrapping is the part of a store that keeps wrapped answers. All of it is done on the primary.
type Wrapping interface {
	// PutWrapped stores an answer for a caller with a token, and takes the replaced one away in the same transaction. TooMany
	// when the caller has as many as it may, NotFound when the replaced one is not there.
	PutWrapped(ctx context.Context, w NewWrapped, by Author) (Wrapped, error)
	// FindWrapped returns the answer of a token, which stays. NotFound when there is none, or it has ended.
	FindWrapped(ctx context.Context, fingerprint [32]byte) (StoredWrapped, error)
	// TakeWrapped takes the answer of a token away and records it. NotFound as above: of several at once, one succeeds.
	TakeWrapped(ctx context.Context, fingerprint [32]byte, by Author) (core.Position, error)
}

// ScreenWrap returns an error if the caller could have nothing wrapped, as far as that is known without a query. It records
// nothing: the request then goes to Reject.
func (v *Vault) ScreenWrap(c Caller, ttl time.Duration) error {
	if err := v.CheckWrap(ttl); err != nil {
		return err
	}
	return v.Screen(c, ActionWrap)
}

// CheckWrap returns an Invalid error if nothing can be wrapped for that long.
func (v *Vault) CheckWrap(ttl time.Duration) error {
	if v.c.Wrapping == nil {
		return errNoWrapping()
	}
	return checkWrapTTL(ttl)
}

func errNoWrapping() error { return core.Errorf(core.Invalid, "response wrapping is not supported") }

func checkWrapTTL(ttl time.Duration) error {
	if ttl < time.Second || ttl > MaxWrapTTL {
		return core.Errorf(core.Invalid, "an answer is wrapped for between 1 and %d seconds", MaxWrapTTL/time.Second)
	}
	return nil
}

// Wrap keeps an answer for the holder of the token that it returns, which takes it once. The caller needs a token. Errors:
// Unauthenticated, Invalid, TooLarge, TooMany (the caller has as many as it may), Unavailable.
func (v *Vault) Wrap(ctx context.Context, c Caller, r WrapRequest) (token.Token, Wrapped, error) {
	a := v.try(c, ActionWrap, r.Name, 0)
	a.change = true
	var made token.Token
	var out Wrapped
	err := a.serve(ctx, func(ctx context.Context) (err error) {
		if v.c.Wrapping == nil {
			return errNoWrapping()
		}
		if err := checkWrapTTL(r.TTL); err != nil {
			return a.invalid(ctx, err)
		}
		made, out, err = a.wrap(ctx, r, [32]byte{}, a.author())
		return err
	})
	if err != nil {
		return token.Token{}, Wrapped{}, err
	}
	return made, out, nil
}

// wrap seals an answer under a new data key and stores it.
func (a *attempt) wrap(ctx context.Context, r WrapRequest, replaced [32]byte, by Author) (token.Token, Wrapped, error) {
	made, err := token.NewWrapping(rand.Reader)
	if err != nil {
		return made, Wrapped{}, err
	}
	id, err := core.NewSecretID(rand.Reader)
	if err != nil {
		return made, Wrapped{}, err
	}
	w := NewWrapped{Fingerprint: made.Fingerprint(), TTL: r.TTL, Replaced: replaced}
	w.ID, w.Name, w.Path = id, a.entry.Name, strings.ToValidUTF8(r.Path[:min(len(r.Path), maxWrapPath)], "")
	binding := envelope.AnswerBinding{ID: w.ID, Fingerprint: w.Fingerprint, Path: w.Path}
	key, err := a.v.c.Keeper.Generate(ctx, binding.KMSContext())
	if err != nil {
		return made, Wrapped{}, err
	}
	defer envelope.Wipe(key.Plain)
	if w.Sealed, err = envelope.SealAnswer(key.Plain, binding, r.Answer); err != nil {
		return made, Wrapped{}, err
	}
	w.WrappedKey = key.WrappedKey
	out, err := a.v.c.Wrapping.PutWrapped(ctx, w, by)
	return made, out, err
}

// LookupWrapped returns what is known of the answer of a wrapping token, which stays. Errors: Unauthenticated (there is
// none), Denied, Unavailable.
func (v *Vault) LookupWrapped(ctx context.Context, c Caller, wrapping Bearer) (Wrapped, error) {
	a := v.try(c, ActionWrapLookup, "", 0)
	var out Wrapped
	err := a.serve(ctx, func(ctx context.Context) error {
		w, _, err := a.findWrapped(ctx, wrapping)
		out = w.Wrapped
		return err
	})
	if err != nil {
		return Wrapped{}, err
	}
	return out, nil
}

// Unwrap takes the answer of a wrapping token: of several requests at once, on whatever nodes, one gets it. The caller needs
// an allowed client address, and wipes the answer. Errors: Unauthenticated (there is none, or it was taken), Denied, Corrupt,
// Unavailable.
func (v *Vault) Unwrap(ctx context.Context, c Caller, wrapping Bearer) (answer []byte, at core.Position, _ error) {
	a := v.try(c, ActionUnwrap, "", 0)
	a.change = true
	leaves := false
	defer func() {
		if !leaves {
			envelope.Wipe(answer)
		}
	}()
	err := a.serve(ctx, func(ctx context.Context) error {
		w, fingerprint, err := a.findWrapped(ctx, wrapping)
		if err != nil {
			return err
		}
		// Opened before it is taken: where the key service is away, the answer is not lost.
		if answer, err = a.openWrapped(ctx, w, fingerprint); err != nil {
			return err
		}
		at, err = v.c.Wrapping.TakeWrapped(ctx, fingerprint, a.wrappingAuthor())
		return noWrapped(err)
	})
	if err != nil {
		return nil, core.Position{}, err
	}
	leaves = true
	return answer, at, nil
}

// RewrapAnswer takes the answer of a wrapping token, and keeps it again under another for as long as it was to wait at first.
// Errors: as of Unwrap and Wrap.
func (v *Vault) RewrapAnswer(ctx context.Context, c Caller, wrapping Bearer) (token.Token, Wrapped, error) {
	a := v.try(c, ActionUnwrap, "", 0)
	a.change = true
	var made token.Token
	var out Wrapped
	err := a.serve(ctx, func(ctx context.Context) error {
		w, fingerprint, err := a.findWrapped(ctx, wrapping)
		if err != nil {
			return err
		}
		answer, err := a.openWrapped(ctx, w, fingerprint)
		defer envelope.Wipe(answer)
		if err != nil {
			return err
		}
		made, out, err = a.wrap(ctx, WrapRequest{Answer: answer, Path: w.Path, TTL: w.TTL()}, fingerprint, a.wrappingAuthor())
		return noWrapped(err)
	})
	if err != nil {
		return token.Token{}, Wrapped{}, err
	}
	return made, out, nil
}

// findWrapped returns the answer of a wrapping token. A caller that presents a token of its own beside it must hold it.
func (a *attempt) findWrapped(ctx context.Context, wrapping Bearer) (w StoredWrapped, fingerprint [32]byte, err error) {
	if a.v.c.Wrapping == nil {
		return w, fingerprint, errNoWrapping()
	}
	if a.malformed != nil {
		return w, fingerprint, a.malformed
	}
	if a.by.HasToken() {
		if err := a.decide(ctx, onPrimary); err != nil {
			return w, fingerprint, err
		}
	}
	t, err := token.ParseWrapping(string(wrapping))
	if err != nil {
		return w, fingerprint, errNoWrapped()
	}
	fingerprint = t.Fingerprint()
	w, err = a.v.c.Wrapping.FindWrapped(ctx, fingerprint)
	if err != nil {
		return w, fingerprint, noWrapped(err)
	}
	a.entry.Name = w.Name
	if !a.by.HasToken() {
		a.entry.Origin.Actor = strings.Join([]string{actorWrapping, core.SecretID(w.ID).String(), actorWrapping}, actorSeparator)
	}
	return w, fingerprint, nil
}

// wrappingAuthor is who takes an answer: the wrapping token has decided that already.
func (a *attempt) wrappingAuthor() Author { return Author{Origin: a.entry.Origin, By: Itself()} }

func (a *attempt) openWrapped(ctx context.Context, w StoredWrapped, fingerprint [32]byte) ([]byte, error) {
	binding := envelope.AnswerBinding{ID: w.ID, Fingerprint: fingerprint, Path: w.Path}
	plain, err := a.v.c.Keeper.Unwrap(ctx, w.WrappedKey, binding.KMSContext())
	if err != nil {
		return nil, err
	}
	defer envelope.Wipe(plain)
	return envelope.OpenAnswer(plain, binding, w.Sealed)
}

// ErrNoWrapped is in the Unauthenticated error about a wrapping token whose answer is not there, or was taken.
var ErrNoWrapped = errors.New("no wrapped answer of this token is there")

func errNoWrapped() error {
	return &refused{cause: CauseWrapping, err: core.Wrap(core.Unauthenticated, ErrNoWrapped, "wrapping token is not valid or does not exist")}
}

// noWrapped says of an answer that is not there what is said of a wrong token.
func noWrapped(err error) error {
	if core.CodeOf(err) == core.NotFound {
		return errNoWrapped()
	}
	return err
}

// byWrapping reports whether the token in the body, and none of the caller's, is what an action needs.
func byWrapping(action Action) bool { return action == ActionUnwrap || action == ActionWrapLookup }
