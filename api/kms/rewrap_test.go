package kms

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestRewrap(t *testing.T) {
	s, old := startKMS(t)
	key := mustGenerate(t, mustAWS(t, AWSConfig{KeyID: old}), ctxA)
	next := s.CreateKey()
	k := mustCache(t, mustAWS(t, AWSConfig{KeyID: next}), CacheConfig{TTL: time.Hour})
	if current, err := k.Current(t.Context()); err != nil || current != next {
		t.Fatalf("%s, %v", current, err)
	}
	t.Run("OK", func(t *testing.T) {
		moved, err := k.Rewrap(t.Context(), key.WrappedKey, next, ctxA)
		if err != nil || moved.KeyID != next || bytes.Equal(moved.Wrapped, key.Wrapped) {
			t.Fatalf("%+v, %v", moved.KeyID, err)
		}
		mustUnwrap(t, k, vault.DataKey{Plain: key.Plain, WrappedKey: moved}, ctxA)
		mustUnwrap(t, k, key, ctxA) // the old one still opens: readers that have it go on
	})
	fails := func(name string, f kmstest.Fault, code core.Code) {
		t.Run(name, func(t *testing.T) {
			f.Op = "ReEncrypt"
			s.Always(f)
			defer s.Always()
			_, err := k.Rewrap(t.Context(), key.WrappedKey, next, ctxA)
			wantErr(t, err, code, key)
		})
	}
	change := func(f func(map[string]any)) kmstest.Fault { return kmstest.Fault{Change: f} }
	other := mustGenerate(t, k, ctxA)
	fails("ErrAnotherKey", change(func(a map[string]any) { a["CiphertextBlob"] = other.Wrapped }), core.Unavailable)
	fails("ErrGarbage", change(func(a map[string]any) { a["CiphertextBlob"] = []byte("garbage") }), core.Unavailable)
	fails("ErrNothing", change(func(a map[string]any) { delete(a, "CiphertextBlob") }), core.Unavailable)
	fails("ErrKeyID", change(func(a map[string]any) { a["KeyId"] = old }), core.Unavailable)
	fails("ErrSourceKeyID", change(func(a map[string]any) { a["SourceKeyId"] = next }), core.Unavailable)
	fails("ErrRefused", kmstest.Refused, core.Denied)
	fails("ErrThrottled", kmstest.Throttled, core.Unavailable)
	t.Run("ErrContext", func(t *testing.T) {
		_, err := k.Rewrap(t.Context(), key.WrappedKey, next, other2(ctxA, "hyperion-vault:version", "8"))
		wantErr(t, err, core.Corrupt, key)
	})
	t.Run("ErrClaimsAnotherKey", func(t *testing.T) { // KMS is told which key the row names
		_, err := k.Rewrap(t.Context(), vault.WrappedKey{KeyID: s.CreateKey(), Wrapped: key.Wrapped}, next, ctxA)
		wantErr(t, err, core.Corrupt, key)
		if got := s.Calls("ReEncrypt"); got[len(got)-1].Code != "IncorrectKeyException" {
			t.Errorf("%+v", got[len(got)-1])
		}
	})
	t.Run("ErrLocal", func(t *testing.T) {
		k := mustCache(t, mustLocal(t, testMaster(1)), CacheConfig{})
		if _, err := k.Current(t.Context()); core.CodeOf(err) != core.Invalid {
			t.Errorf("%v", err)
		}
		if _, err := k.Rewrap(t.Context(), key.WrappedKey, next, ctxA); core.CodeOf(err) != core.Invalid {
			t.Errorf("%v", err)
		}
	})
	if st := k.Stats(); st.Rewrap.Calls != 10 || st.Rewrap.Errors() != 9 {
		t.Errorf("%+v", st.Rewrap)
	}
}

// TestRewrapAlias: what an alias stands for may change at any moment; a data key goes where the caller was told, or nowhere.
func TestRewrapAlias(t *testing.T) {
	s, old := startKMS(t)
	key := mustGenerate(t, mustAWS(t, AWSConfig{KeyID: old}), ctxA)
	next, later := s.CreateKey(), s.CreateKey()
	s.SetAlias("alias/vault", next)
	k := mustAWS(t, AWSConfig{KeyID: "alias/vault"})
	to, err := k.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.SetAlias("alias/vault", later)
	if made, err := k.Rewrap(t.Context(), key.WrappedKey, to, ctxA); err != nil || made.KeyID != next {
		t.Errorf("moved to %s, %v", made.KeyID, err)
	}
	elsewhere, err := k.Rewrap(t.Context(), key.WrappedKey, later, ctxA)
	if err != nil {
		t.Fatal(err)
	}
	s.Always(kmstest.Fault{Op: "ReEncrypt", Change: func(a map[string]any) { a["KeyId"], a["CiphertextBlob"] = later, elsewhere.Wrapped }})
	_, err = k.Rewrap(t.Context(), key.WrappedKey, to, ctxA)
	wantErr(t, err, core.Unavailable, key)
}

// TestRewrapKeyGone: a caller that moves many keys learns that this one may not be used, and not that KMS is away.
func TestRewrapKeyGone(t *testing.T) {
	s, old := startKMS(t)
	key := mustGenerate(t, mustAWS(t, AWSConfig{KeyID: old}), ctxA)
	next := s.CreateKey()
	k := mustCache(t, mustRecovery(t, mustAWS(t, AWSConfig{KeyID: next}), ""), CacheConfig{})
	refused := func(name string, want bool) {
		t.Helper()
		_, err := k.Rewrap(t.Context(), key.WrappedKey, next, ctxA)
		wantErr(t, err, core.Unavailable, key)
		if errors.Is(err, vault.ErrKeyRefused) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, state := range []kmstest.State{kmstest.Disabled, kmstest.PendingDeletion} {
		s.SetState(old, state)
		refused(string(state), true)
	}
	s.Always(kmstest.Fault{Op: "ReEncrypt", Status: 400, Code: "NotFoundException"})
	refused("not found", true)
	for _, f := range []kmstest.Fault{kmstest.Throttled, kmstest.Broken, kmstest.Resetting, kmstest.ExpiredLogin} {
		s.Always(f)
		refused(f.Code, false)
	}
}
