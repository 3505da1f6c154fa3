package kms

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"math"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// watched keeps every data key that a local keeper hands out.
type watched struct {
	*Local
	blob int // bytes of a wrapped key that Generate and Rewrap make longer
	cut  int // bytes that Unwrap leaves out
	out  [][]byte
}

func (k *watched) Generate(ctx context.Context, c map[string]string) (vault.DataKey, error) {
	key, err := k.Local.Generate(ctx, c)
	k.out = append(k.out, key.Plain)
	key.Wrapped = append(key.Wrapped, make([]byte, k.blob)...)
	return key, err
}

func (k *watched) Unwrap(ctx context.Context, key vault.WrappedKey, c map[string]string) ([]byte, error) {
	plain, err := k.Local.Unwrap(ctx, key, c)
	k.out = append(k.out, plain)
	return plain[:max(0, len(plain)-k.cut)], err
}

func (k *watched) Rewrap(_ context.Context, key vault.WrappedKey, _ string, _ map[string]string) (vault.WrappedKey, error) {
	return key, nil
}

// wantWiped requires that the keeper has handed out n keys since the last time, of which none is left.
func (k *watched) wantWiped(t *testing.T, n int) {
	t.Helper()
	if len(k.out) != n {
		t.Errorf("%d keys were handed out, want %d", len(k.out), n)
	}
	for _, key := range k.out {
		if key = key[:len(key)-k.cut]; len(bytes.Trim(key, "\x00")) != 0 {
			t.Error("a key is not wiped")
		}
	}
	k.out = nil
}

// TestKeysAreWiped: what stands between a keeper and the door wipes every data key that it does not hand on.
func TestKeysAreWiped(t *testing.T) {
	recipient := mustIdentity(t).Recipient().String()
	t.Run("recovery, generate", func(t *testing.T) {
		inner := &watched{Local: randomLocal(t), blob: maxBlob}
		if _, err := mustRecovery(t, inner, recipient).Generate(t.Context(), ctxA); err == nil {
			t.Error("a wrapped key of any length")
		}
		inner.wantWiped(t, 1)
	})
	t.Run("recovery, unwrap", func(t *testing.T) {
		inner := &watched{Local: randomLocal(t)}
		k := mustRecovery(t, inner, recipient)
		key := mustGenerate(t, k, ctxA)
		inner.out = nil
		key.Wrapped[len(key.Wrapped)-1] ^= 1
		if _, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA); err == nil {
			t.Error("a changed wrapping opens")
		}
		inner.wantWiped(t, 1)
	})
	t.Run("recovery, rewrap", func(t *testing.T) {
		inner := &watched{Local: randomLocal(t)}
		k := mustRecovery(t, inner, recipient)
		key := mustGenerate(t, k, ctxA)
		inner.out = nil
		if _, err := k.Rewrap(t.Context(), key.WrappedKey, inner.KeyID(), ctxA); err != nil {
			t.Error(err)
		}
		inner.wantWiped(t, 1)
	})
	t.Run("succession, rewrap", func(t *testing.T) {
		present, former := &watched{Local: randomLocal(t)}, &watched{Local: randomLocal(t)}
		key := mustGenerate(t, former, ctxA)
		former.out = nil
		if _, err := NewSuccession(present, former).Rewrap(t.Context(), key.WrappedKey, present.KeyID(), ctxA); err != nil {
			t.Error(err)
		}
		present.wantWiped(t, 1)
		former.wantWiped(t, 1)
	})
	t.Run("cache", func(t *testing.T) {
		inner := &watched{Local: randomLocal(t)}
		k := mustCache(t, inner, CacheConfig{TTL: time.Hour})
		key := mustGenerate(t, inner, ctxA)
		inner.out = nil
		if err := k.Prove(t.Context(), key.WrappedKey, ctxA); err != nil {
			t.Error(err)
		}
		inner.wantWiped(t, 1)
		inner.cut = 1
		if _, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA); err == nil {
			t.Error("a key of a wrong length")
		}
		inner.wantWiped(t, 1)
		inner.cut, k.inner.unwrap.doubtful = 0, true
		if err := k.tryKeys(&attempts{}); err != nil {
			t.Error(err)
		}
		inner.wantWiped(t, 2)
	})
}

// remembering is a source of random bytes that keeps where it put them.
type remembering struct {
	io.Reader
	out [][]byte
}

func (r *remembering) Read(b []byte) (int, error) {
	r.out = append(r.out, b)
	return r.Reader.Read(b)
}

// TestLocalWipes: the local keeper keeps nothing of a key that it cannot hand out, nor of what it derives for one key.
func TestLocalWipes(t *testing.T) {
	t.Run("generate", func(t *testing.T) {
		l := randomLocal(t)
		_ = l.Close()
		v := residue.New(t, envelope.KeySize)
		drawn := v.Bytes()
		system, source := rand.Reader, &remembering{}
		source.Reader = io.MultiReader(bytes.NewReader(drawn), system)
		rand.Reader = source
		_, err := l.Generate(t.Context(), ctxA)
		rand.Reader = system
		clear(drawn)
		if err == nil || len(source.out) == 0 {
			t.Fatalf("%v, %d draws", err, len(source.out))
		}
		clear(source.out[0]) // where crypto/rand has another source put it
		v.Want(0, "a data key that could not be wrapped")
	})
	t.Run("judge", func(t *testing.T) {
		l := randomLocal(t)
		key := mustGenerate(t, l, ctxA)
		v := residue.Of(t, key.Plain)
		before := v.Count()
		key.KeyID = randomLocal(t).KeyID()
		if _, err := l.Unwrap(t.Context(), key.WrappedKey, ctxA); err == nil {
			t.Error("a row that names another key opens")
		}
		v.Want(before, "after the judgement")
	})
	t.Run("derived key", func(t *testing.T) {
		l := randomLocal(t)
		nonce := bytes.Repeat([]byte{7}, chacha20poly1305.NonceSizeX)
		derived, err := chacha20.HChaCha20(l.master.key(), nonce[:16])
		if err != nil {
			t.Fatal(err)
		}
		v := residue.Of(t, derived)
		use := func() { err = l.withAEAD(nonce, func(aead) error { return nil }) }
		deep(100, use) // the stack has its size from now on
		before := v.Count()
		deep(50, use)
		if n := v.Count() - before; err != nil || n > 1 {
			t.Errorf("%v: %d copies are left, want the cipher's own at most", err, n) // no code can wipe that one
		}
	})
}

// deep calls f so far down the stack that nothing overwrites afterwards what f leaves there.
//
//go:noinline
func deep(n int, f func()) (sum byte) {
	var frame [1024]byte
	if frame[n] = 1; n == 0 {
		f()
		return frame[0]
	}
	return deep(n-1, f) + frame[n]
}

// mustCount returns how many copies of v a call of f leaves at least. Now and then the runtime or the fake of KMS keeps one more
// for a while, and a copy that f leaves is left by each call.
func (k *AWS) mustCount(t *testing.T, v *residue.Value, f func() error) int {
	t.Helper()
	least := math.MaxInt
	for range 5 {
		before := v.Count()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		least = min(least, v.Count()-before)
	}
	return least
}

// TestAWSWipes: a key that is only compared, or that came with a false answer, is wiped. The fake of KMS, which is in
// the same process, leaves copies of its own at each call: as many as at a call whose key the test wipes.
func TestAWSWipes(t *testing.T) {
	k, s := startAWS(t, 0)
	key := mustGenerate(t, k, ctxA)
	v := residue.Of(t, key.Plain)
	unwrap := func() error {
		plain, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
		envelope.Wipe(plain)
		return err
	}
	k.mustCount(t, v, unwrap)
	one := k.mustCount(t, v, unwrap)
	if n := k.mustCount(t, v, func() error { return k.same(t.Context(), key.WrappedKey, key.WrappedKey, ctxA) }); n > 2*one {
		t.Errorf("a comparison leaves %d copies, two calls %d", n, 2*one)
	}
	s.Always(kmstest.Fault{Op: "Decrypt", Change: func(a map[string]any) { a["KeyId"] = "arn:aws:kms:other" }})
	n := k.mustCount(t, v, func() error {
		if _, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA); err == nil {
			t.Error("a false answer was believed")
		}
		return nil
	})
	if n > one {
		t.Errorf("a false answer leaves %d copies, a right one %d", n, one)
	}
}

// TestAWSWipesWhatItGenerated: the same of a new key that came with a false answer.
func TestAWSWipesWhatItGenerated(t *testing.T) {
	k, s := startAWS(t, 0)
	left := func(id any) int {
		residue.New(t, 16) // stops the collector
		var text string
		s.Always(kmstest.Fault{Op: "GenerateDataKey", Change: func(a map[string]any) {
			if text = base64.StdEncoding.EncodeToString(a["Plaintext"].([]byte)); id != nil {
				a["KeyId"] = id
			}
		}})
		key, err := k.Generate(t.Context(), ctxA)
		if envelope.Wipe(key.Plain); (err == nil) != (id == nil) {
			t.Fatal(err)
		}
		plain, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		v := residue.Of(t, plain)
		clear(plain)
		return v.Count()
	}
	left(nil)
	right := left(nil)
	if n := left("arn:aws:kms:other"); n != right {
		t.Errorf("a false answer leaves %d copies, a right one %d", n, right)
	}
}

// TestRecovererWipes: a wrapping that is damaged leaves no more copies than one that is right, whose key the test wipes;
// age leaves those.
func TestRecovererWipes(t *testing.T) {
	id := mustIdentity(t)
	k, r := mustRecovery(t, randomLocal(t), id.Recipient().String()), mustRecoverer(t, id)
	left := func(n int, right bool, change func([]byte)) int {
		v := residue.New(t, n)
		plain := v.Bytes()
		w, err := k.join([]byte("x"), plain)
		if err != nil {
			t.Fatal(err)
		}
		clear(plain)
		change(w)
		before := v.Count()
		got, err := r.Unwrap(t.Context(), vault.WrappedKey{Wrapped: w}, ctxA)
		envelope.Wipe(got)
		if right != (err == nil) {
			t.Fatal(err)
		}
		return v.Count() - before
	}
	right := left(envelope.KeySize, true, func([]byte) {})
	if n := left(envelope.KeySize, false, func(w []byte) { w[len(recoveryMagic)+4+1] ^= 1 }); n != right {
		t.Errorf("a wrong tag leaves %d copies, a right one %d", n, right)
	}
	if n := left(envelope.KeySize+1, false, func([]byte) {}); n != right {
		t.Errorf("a wrong length leaves %d copies, a right one %d", n, right)
	}
}
