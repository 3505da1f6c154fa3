package kms

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/hyperiondb/hyperion-vault/core"
)

// attempts remembers why the last attempt of a call failed by itself. The SDK forgets that when the call's context ends
// in an attempt or between two of them. A caller that waits for a shared call would then never learn it. Safe for
// concurrent use.
type attempts struct {
	mu      sync.Mutex
	op, key string
	last    error
}

type attemptsKey struct{}

// withAttempts returns the attempts that ctx carries, or new ones and a context that carries them.
func withAttempts(ctx context.Context) (context.Context, *attempts) {
	if a := attemptsOf(ctx); a != nil {
		return ctx, a
	}
	a := &attempts{}
	return context.WithValue(ctx, attemptsKey{}, a), a
}

func attemptsOf(ctx context.Context) *attempts {
	a, _ := ctx.Value(attemptsKey{}).(*attempts)
	return a
}

// begin starts a call of KMS: the attempts of an earlier call under the same context no longer count.
func (a *attempts) begin(op, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.op, a.key, a.last = op, key, nil
}

// failed notes why an attempt failed.
func (a *attempts) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = err
}

// cause returns why the last attempt failed, nil when none has failed by itself.
func (a *attempts) cause() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// givenUp returns the error for a caller who stopped waiting, as ended says, while the call went on.
func (a *attempts) givenUp(ended error) error {
	last := a.cause()
	if last == nil {
		return core.Wrap(tooLate.code, ended, "%s", tooLate.msg)
	}
	a.mu.Lock()
	f := &awsFault{op: a.op, key: a.key, cause: ended}
	a.mu.Unlock()
	m := f.judgeAttempt(last)
	f.detail, f.hint, f.reason = inOneLine(f.detail, "given up: "+ended.Error()), m.hint, m.reason
	return core.Wrap(m.code, f, "%s", m.msg)
}

func inOneLine(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// call prepares one call: its attempts are remembered, and its retries end while there is time to say why.
func (k *AWS) call(ctx context.Context, op, key string) (context.Context, func(*awskms.Options)) {
	ctx, tried := withAttempts(ctx)
	tried.begin(op, key)
	return ctx, func(o *awskms.Options) {
		v2, ok := o.Retryer.(aws.RetryerV2)
		if deadline, bounded := ctx.Deadline(); ok && bounded {
			o.Retryer = &timelyRetryer{RetryerV2: v2, deadline: deadline}
		}
	}
}

// timelyRetryer ends a call's retries when the next one would begin too late to be answered before the deadline: the
// caller then learns at once why the last attempt failed.
type timelyRetryer struct {
	aws.RetryerV2
	deadline time.Time
}

// RetryDelay implements aws.Retryer. Its error is the one of the attempt.
func (r *timelyRetryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	delay, derr := r.RetryerV2.RetryDelay(attempt, err)
	if derr == nil && time.Until(r.deadline) < delay+breakerPatience {
		return 0, err
	}
	return delay, derr
}
