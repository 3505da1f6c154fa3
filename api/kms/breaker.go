package kms

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// breakerFails is how many attempts in a row must get no answer before calls are refused. A throttling KMS
	// answers in between and never reaches it. A hanging KMS reaches it with the first attempts of a burst.
	breakerFails = 10
	// Calls are refused for a quarter of the time that KMS has been away, within breakerShortest and breakerLongest.
	// Then one call is let through to test whether KMS is back. The same pause follows each test that fails. So an
	// outage appears a quarter longer than it is, even if it is one of many short ones, and a long outage causes few
	// tests. breakerLongest is what Retry-After tells clients.
	breakerShortest = 100 * time.Millisecond
	breakerLongest  = time.Second
	// breakerPatience is how much time an attempt must have had for its caller's deadline to say anything about KMS.
	breakerPatience = 250 * time.Millisecond
)

// Circuit is the state of a breaker. The zero Circuit is that of a keeper without a breaker.
type Circuit struct {
	Open    bool   // KMS has not answered lately, so all attempts but a few tests are refused
	Refused uint64 // attempts refused; it only grows

	why error // the last attempt's failure as a caller is told it; nil = unknown
}

// reason returns what a caller is told while the circuit is open.
func (c Circuit) reason() error {
	if c.why != nil {
		return c.why
	}
	return core.Errorf(away.code, "%s", away.msg)
}

// breaker refuses attempts at once while KMS answers none. So callers do not each wait for their whole deadline, and
// the retries of calls under way end too. It counts attempts, not calls. Every answer of KMS is a sign of life, even
// a refusal or throttling. Safe for concurrent use.
type breaker struct {
	changed func(why error) // nil = no callback
	limit   time.Duration   // of one attempt; 0 = unknown
	refused atomic.Uint64

	mu     sync.Mutex
	fails  int       // in a row, while closed
	since  time.Time // when it opened; zero = it is closed
	until  time.Time // when the pause ends
	trying bool      // one attempt is let through as a test
	why    error     // what the last silent attempt failed with
	turn   uint64    // counts openings, tests and closings; the result of an attempt of an earlier turn is outdated
}

// errResting is why the breaker refused; the SDK does not try it again.
var errResting = errors.New("kms: the breaker is open")

// newBreaker returns a closed breaker. It calls changed each time the breaker opens, with the last attempt's error,
// and each time it closes, with nil. It does not call changed for tests in between. changed must not block; nil = no
// callback.
func newBreaker(changed func(why error)) *breaker { return &breaker{changed: changed} }

// reason returns the error of the last silent attempt; nil = there was none since an answer came.
func (b *breaker) reason() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why
}

func (b *breaker) state() Circuit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Circuit{Open: b.open(), Refused: b.refused.Load()}
}

// allow reports whether an attempt may be made. The caller that made it passes its result to done, with the same turn.
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
		b.fails, b.since, b.trying, b.why = 0, time.Time{}, false, nil
		b.report(nil)
	case sign == nil:
		b.fails, b.why = 0, nil
	case b.open():
		b.why = sign
		b.rest()
	default:
		b.why = sign
		if b.fails++; b.fails >= breakerFails {
			b.since = time.Now()
			b.rest()
			b.report(sign)
		}
	}
}

// open reports whether KMS is considered unavailable; b.mu is held.
func (b *breaker) open() bool { return !b.since.IsZero() }

// rest starts a pause. Half of its length is random, or the pauses could keep step with a KMS that flaps. b.mu is held.
func (b *breaker) rest() {
	b.turn++
	b.trying = false
	now := time.Now()
	long := min(max(now.Sub(b.since)/4, breakerShortest), breakerLongest)
	b.until = now.Add(long/2 + rand.N(long/2))
}

func (b *breaker) report(why error) {
	if b.changed != nil {
		b.changed(why)
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
	startedAt := time.Now()
	result := context.Canceled // what a panic leaves: nothing is known
	defer func() { b.done(turn, result) }()
	out, meta, err := next.HandleFinalize(ctx, in)
	took := time.Since(startedAt)
	why := err
	if b.limit > 0 && took >= b.limit && cutOff(err) {
		why = errHung
	}
	result = sign(ctx, why, took)
	if a := attemptsOf(ctx); a != nil && why != nil && ctx.Err() == nil {
		a.failed(why)
	}
	return out, meta, err
}

// sign returns what an attempt says about KMS. nil means that KMS answered. context.Canceled means that nothing is
// known. Any other error, which is err or stands for it, means that KMS was silent.
func sign(ctx context.Context, err error, took time.Duration) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && (errors.Is(cause, context.Canceled) || took < breakerPatience) {
		return context.Canceled
	}
	if _, ok := errors.AsType[*noCredentials](err); ok {
		return context.Canceled // KMS was not called
	}
	if _, ok := errors.AsType[smithy.APIError](err); ok {
		if status, ok := statusOf(err); ok && status < 500 {
			return nil
		}
	}
	if ctx.Err() != nil {
		return errHung
	}
	return err
}

// errHung is an attempt that its caller's deadline ended after more than breakerPatience.
var errHung error = hung{}

type hung struct{}

// Error implements net.Error.
func (hung) Error() string { return "kms: no answer by the deadline" }

// Timeout implements net.Error.
func (hung) Timeout() bool { return true }

// Temporary implements net.Error.
func (hung) Temporary() bool { return true }

// cutOff reports whether an attempt was under way when its time was over. The error of an answer that is cut off in the
// middle does not always say so.
func cutOff(err error) bool {
	if err == nil {
		return false
	}
	_, answered := errors.AsType[smithy.APIError](err)
	_, unasked := errors.AsType[*noCredentials](err)
	_, unnamed := errors.AsType[*net.DNSError](err)
	o, network := errors.AsType[*net.OpError](err)
	return !answered && !unasked && !unnamed && !(network && (o.Op == "dial" || o.Op == "proxyconnect"))
}

func circuitOf(k vault.Keeper) Circuit {
	if c, ok := k.(interface{ Circuit() Circuit }); ok {
		return c.Circuit()
	}
	return Circuit{}
}
