package kms

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/sony/gobreaker/v2"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	// breakerFails is how many attempts in a row must get no answer before calls are refused. A flapping KMS answers in
	// between and never gets there; one that hangs is there after the first attempt of a burst.
	breakerFails = 10
	// breakerRest is how long calls are refused before one of them is let through to see whether KMS is back. It is
	// what Retry-After tells clients.
	breakerRest = time.Second
	// breakerPatience is how much time an attempt must have had for its caller's deadline to say anything about KMS.
	breakerPatience = 250 * time.Millisecond
)

// Circuit is what a breaker does: the zero value is that of a keeper which has none.
type Circuit struct {
	Open    bool   // KMS has not answered lately: all but one attempt a second are refused
	Refused uint64 // attempts refused; it only grows
}

// breaker refuses attempts at once while KMS answers none, so that callers do not wait for their whole deadline each and
// retries of calls under way end too. It looks at attempts, not at calls: every answer of KMS, a refusal or throttling
// too, is a sign of life. Safe for concurrent use.
type breaker struct {
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
	refused atomic.Uint64
}

// errResting is why the breaker refused; the SDK does not try it again.
var errResting = errors.New("kms: the breaker is open")

// newBreaker's changed is told each time the breaker opens (true) or closes (false) for good, not of tries in between;
// it must not block. nil = nobody.
func newBreaker(changed func(open bool)) *breaker {
	s := gobreaker.Settings{
		MaxRequests: 1, Timeout: breakerRest,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFails },
		IsSuccessful: func(err error) bool { return err == nil },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
	}
	if changed != nil {
		s.OnStateChange = func(_ string, from, to gobreaker.State) {
			if from == gobreaker.StateClosed || to == gobreaker.StateClosed {
				changed(to != gobreaker.StateClosed)
			}
		}
	}
	return &breaker{circuit: gobreaker.NewTwoStepCircuitBreaker[struct{}](s)}
}

func (b *breaker) state() Circuit {
	return Circuit{Open: b.circuit.State() != gobreaker.StateClosed, Refused: b.refused.Load()}
}

// install puts the breaker between the SDK's retryer and one attempt: credentials, signature, exchange, answer.
func (b *breaker) install(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("HyperionVaultBreaker", b.attempt), "Retry", middleware.After)
}

func (b *breaker) attempt(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	done, err := b.circuit.Allow()
	if err != nil {
		b.refused.Add(1)
		return middleware.FinalizeOutput{}, middleware.Metadata{}, errResting
	}
	begun := time.Now()
	result := context.Canceled // what a panic leaves: nothing is known
	defer func() { done(result) }()
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
