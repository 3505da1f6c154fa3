package kms

import (
	"bytes"
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
		moved, err := k.Rewrap(t.Context(), key.WrappedKey, ctxA)
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
			_, err := k.Rewrap(t.Context(), key.WrappedKey, ctxA)
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
		_, err := k.Rewrap(t.Context(), key.WrappedKey, other2(ctxA, "hyperion-vault:version", "8"))
		wantErr(t, err, core.Corrupt, key)
	})
	t.Run("ErrLocal", func(t *testing.T) {
		k := mustCache(t, mustLocal(t, testMaster(1)), CacheConfig{})
		if _, err := k.Current(t.Context()); core.CodeOf(err) != core.Invalid {
			t.Errorf("%v", err)
		}
		if _, err := k.Rewrap(t.Context(), key.WrappedKey, ctxA); core.CodeOf(err) != core.Invalid {
			t.Errorf("%v", err)
		}
	})
	if st := k.Stats(); st.Rewrap.Calls != 9 || st.Rewrap.Errors() != 8 {
		t.Errorf("%+v", st.Rewrap)
	}
}
