package kms

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	// breakerFails is how many attempts in a row must get no answer before calls are refused. A throttling KMS answers in
	// between and never gets there; one that hangs is there after the first attempt of a burst.
	breakerFails = 10
	// Calls are refused for a quarter of the time that KMS has been away, but for breakerShortest to breakerLongest, before
	// one of them is let through to see whether it is back; and so again after each try in vain. So an outage is felt for
	// a quarter longer than it is, be it one of many short ones, and a long one means few tries. The longest is what
	// Retry-After tells clients.
	breakerShortest = 100 * time.Millisecond
	breakerLongest  = time.Second
	// breakerPatience is how much time an attempt must have had for its caller's deadline to say anything about KMS.
	breakerPatience = 250 * time.Millisecond
)

// Circuit is what a breaker does: the zero value is that of a keeper which has none.
type Circuit struct {
	Open    bool   // KMS has not answered lately: all attempts but a few tries are refused
	Refused uint64 // attempts refused; it only grows
}

// breaker refuses attempts at once while KMS answers none, so that callers do not wait for their whole deadline each and
// retries of calls under way end too. It looks at attempts, not at calls: every answer of KMS, a refusal or throttling
// too, is a sign of life. Safe for concurrent use.
type breaker struct {
	changed func(open bool) // nil = nobody
	refused atomic.Uint64

	mu     sync.Mutex
	fails  int       // in a row, while closed
	since  time.Time // when it opened; zero = it is closed
	until  time.Time // of the rest
	trying bool      // somebody is let through
	turn   uint64    // counts openings, tries and closings: what an attempt of an earlier one says is old
}

// errResting is why the breaker refused; the SDK does not try it again.
var errResting = errors.New("kms: the breaker is open")

// newBreaker's changed is told each time the breaker opens (true) or closes (false) for good, not of tries in between;
// it must not block. nil = nobody.
func newBreaker(changed func(open bool)) *breaker { return &breaker{changed: changed} }

func (b *breaker) state() Circuit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Circuit{Open: b.open(), Refused: b.refused.Load()}
}

// allow tells whether an attempt may be made; who made it tells done, with the same turn, what came of it.
func (b *breaker) allow() (turn uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open() {
		if b.trying || time.Now().Before(b.until) {
			b.refused.Add(1)
			return 0, false
		}
		b.trying = true
		b.turn++
	}
	return b.turn, true
}

// done takes the sign of an attempt.
func (b *breaker) done(turn uint64, sign error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case turn != b.turn: // of before
	case errors.Is(sign, context.Canceled):
		b.trying = false
	case sign == nil && b.open():
		b.turn++
		b.fails, b.since, b.trying = 0, time.Time{}, false
		b.tell(false)
	case sign == nil:
		b.fails = 0
	case b.open():
		b.rest()
	default:
		if b.fails++; b.fails >= breakerFails {
			b.since = time.Now()
			b.rest()
			b.tell(true)
		}
	}
}

// open is whether KMS is taken to be away; b.mu is held.
func (b *breaker) open() bool { return !b.since.IsZero() }

// rest begins one, half of it by chance: else the rests could keep step with a KMS that flaps. b.mu is held.
func (b *breaker) rest() {
	b.turn++
	b.trying = false
	now := time.Now()
	long := min(max(now.Sub(b.since)/4, breakerShortest), breakerLongest)
	b.until = now.Add(long/2 + rand.N(long/2))
}

func (b *breaker) tell(open bool) {
	if b.changed != nil {
		b.changed(open)
	}
}

// install puts the breaker between the SDK's retryer and one attempt: credentials, signature, exchange, answer.
func (b *breaker) install(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("HyperionVaultBreaker", b.attempt), "Retry", middleware.After)
}

func (b *breaker) attempt(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	turn, ok := b.allow()
	if !ok {
		return middleware.FinalizeOutput{}, middleware.Metadata{}, errResting
	}
	begun := time.Now()
	result := context.Canceled // what a panic leaves: nothing is known
	defer func() { b.done(turn, result) }()
	out, meta, err := next.HandleFinalize(ctx, in)
	result = sign(ctx, err, time.Since(begun))
	return out, meta, err
}

// sign says what an attempt tells about KMS: nil that it lives, context.Canceled nothing, anything else that it was silent.
func sign(ctx context.Context, err error, took time.Duration) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && (errors.Is(cause, context.Canceled) || took < breakerPatience) {
		return context.Canceled
	}
	if _, ok := errors.AsType[*noCredentials](err); ok {
		return context.Canceled // KMS was not asked
	}
	if _, ok := errors.AsType[smithy.APIError](err); ok {
		if status, ok := statusOf(err); ok && status < 500 {
			return nil
		}
	}
	return errResting
}

func circuitOf(k vault.Keeper) Circuit {
	if c, ok := k.(interface{ Circuit() Circuit }); ok {
		return c.Circuit()
	}
	return Circuit{}
}
