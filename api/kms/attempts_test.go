package kms

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// persistent are failures that a key service can go on with, and what a client must read of each.
var persistent = map[string]struct {
	fault  kmstest.Fault
	code   core.Code
	text   string
	log    string // what the operator reads beside
	reason Reason
}{
	"throttling": {kmstest.Throttled, core.Unavailable, "the key service is throttling", "ThrottlingException", ReasonThrottled},
	"broken":     {kmstest.Broken, core.Unavailable, "the key service has failed", "KMSInternalException", ReasonFailed},
	"gateway":    {kmstest.BadGateway, core.Unavailable, "the key service has failed", "HTTP status 502", ReasonFailed},
	"key away":   {kmstest.KeyAway, core.Unavailable, "the key service has failed", "KeyUnavailableException", ReasonFailed},
	"resetting":  {kmstest.Resetting, core.Unavailable, "the key service cannot be reached", "the connection broke", ReasonUnreachable},
	"hanging":    {kmstest.Hanging, core.Unavailable, "the key service did not answer in time", "", ReasonTimeout},
	"refused":    {kmstest.Refused, core.Denied, "the key service refuses this server", "is not authorized", ReasonDenied},
	"login":      {kmstest.ExpiredLogin, core.Unavailable, "the key service does not accept this server's credentials", "ExpiredTokenException", ReasonCredentials},
}

// TestLastCause: whichever way the retries of a call end (no time for another, the deadline between two attempts or in
// one, no retries left, calls refused because KMS is considered away), client, log and metrics get the last real cause,
// from every kind of call and also who waits for another's.
func TestLastCause(t *testing.T) {
	for name, want := range persistent {
		t.Run(name, func(t *testing.T) {
			s, arn := startKMS(t)
			inner := mustAWS(t, AWSConfig{KeyID: arn, MaxRetries: 1000, AttemptTimeout: 150 * time.Millisecond})
			key := mustGenerate(t, inner, ctxA)
			k, err := NewCache(inner, CacheConfig{TTL: time.Hour, CallTimeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = k.Close() })
			s.Always(want.fault)
			for i := range 4 { // the first ones open the breaker, where it opens
				for call, try := range map[string]func(context.Context) error{
					"Generate": func(ctx context.Context) error { _, err := k.Generate(ctx, ctxA); return err },
					"Unwrap":   func(ctx context.Context) error { _, err := k.Unwrap(ctx, key.WrappedKey, ctxA); return err },
					"Rewrap": func(ctx context.Context) error {
						_, err := k.Rewrap(ctx, key.WrappedKey, arn, ctxA)
						return err
					},
					"Check": k.Check,
				} {
					// Shorter than the call itself: who waits for a shared call ends first.
					ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
					err := try(ctx)
					if core.CodeOf(err) != want.code || core.MessageOf(err) != want.text || !strings.Contains(err.Error(), want.log) {
						t.Errorf("%s, %d: %s %q; the operator reads: %v", call, i, core.CodeOf(err), core.MessageOf(err), err)
					}
					cancel()
				}
			}
			stats := k.Stats()
			for call, c := range map[string]CallStats{"Generate": stats.Generate, "Unwrap": stats.Unwrap, "Check": stats.Check, "Rewrap": stats.Rewrap} {
				if c.Reasons[want.reason] != c.Errors() || c.Errors() == 0 {
					t.Errorf("%s: %d of %d failures are counted as %s: %v", call, c.Reasons[want.reason], c.Errors(), want.reason, c.Reasons)
				}
			}
		})
	}
}

// TestRetriesFitTheDeadline: no attempt begins that could not be answered, and none is waited for.
func TestRetriesFitTheDeadline(t *testing.T) {
	k, s := startAWS(t, 1000)
	key := mustGenerate(t, k, ctxA)
	s.Always(kmstest.Throttled)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err := k.Unwrap(ctx, key.WrappedKey, ctxA)
	if ctx.Err() != nil {
		t.Error("the deadline was waited for")
	}
	if core.MessageOf(err) != "the key service is throttling" || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if n := len(s.Calls("Decrypt")); n < 2 {
		t.Errorf("%d attempts", n)
	}
}

// TestCutInAnAttempt: a deadline that falls into an attempt does not hide why the ones before it failed.
func TestCutInAnAttempt(t *testing.T) {
	k, s := startAWS(t, 5)
	key := mustGenerate(t, k, ctxA)
	s.Always(kmstest.Hanging)
	s.Next(kmstest.Broken)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := k.Unwrap(ctx, key.WrappedKey, ctxA)
	wantErr(t, err, core.Unavailable, vault.DataKey{})
	if !strings.Contains(err.Error(), "KMSInternalException") || !strings.Contains(err.Error(), "given up: context deadline exceeded") {
		t.Errorf("the operator reads: %v", err)
	}
}
