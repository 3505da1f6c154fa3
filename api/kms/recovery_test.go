package kms

import (
	"bytes"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func mustIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustRecovery(t testing.TB, inner vault.Keeper, recipient string) *Recovery {
	t.Helper()
	k, err := NewRecovery(inner, recipient)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustRecoverer(t testing.TB, id *age.X25519Identity) *Recoverer {
	t.Helper()
	r, err := NewRecoverer([]byte("# created: today\n# public key: " + id.Recipient().String() + "\n" + id.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecovery(t *testing.T) {
	id := mustIdentity(t)
	bare := mustLocal(t, testMaster(1))
	on, off := mustRecovery(t, bare, id.Recipient().String()), mustRecovery(t, bare, "")
	key, plainKey := mustGenerate(t, on, ctxA), mustGenerate(t, off, ctxA)
	if bytes.Contains(key.Wrapped, key.Plain) || bytes.HasPrefix(plainKey.Wrapped, []byte(recoveryMagic)) || len(key.Wrapped) > 512 {
		t.Fatalf("wrapped twice: %d bytes; once: %d", len(key.Wrapped), len(plainKey.Wrapped))
	}
	t.Run("OK", func(t *testing.T) {
		// Whatever the setting is now, what was stored opens.
		for _, k := range []vault.Keeper{on, off} {
			mustUnwrap(t, k, key, ctxA)
			mustUnwrap(t, k, plainKey, ctxA)
		}
		got, err := mustRecoverer(t, id).Unwrap(t.Context(), key.WrappedKey, nil)
		if err != nil || !bytes.Equal(got, key.Plain) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
	t.Run("ErrNotWrapped", func(t *testing.T) {
		_, err := mustRecoverer(t, id).Unwrap(t.Context(), plainKey.WrappedKey, nil)
		wantErr(t, err, core.Invalid, plainKey)
	})
	t.Run("ErrAnother", func(t *testing.T) {
		_, err := mustRecoverer(t, mustIdentity(t)).Unwrap(t.Context(), key.WrappedKey, nil)
		wantErr(t, err, core.Denied, key)
	})
	t.Run("ErrEveryByteChanged", func(t *testing.T) {
		// A read notices every one. The recovery key does not depend on the first wrapping, so not on its bytes.
		r := mustRecoverer(t, id)
		for at := range key.Wrapped {
			changed := vault.WrappedKey{KeyID: key.KeyID, Wrapped: bytes.Clone(key.Wrapped)}
			changed.Wrapped[at] ^= 1
			_, err := on.Unwrap(t.Context(), changed, ctxA)
			wantErr(t, err, core.Corrupt, key)
			if b, err := r.Unwrap(t.Context(), changed, nil); err == nil && (!bytes.Equal(b, key.Plain) || at >= 8+localLen) {
				t.Errorf("byte %d does not matter to the recovery key", at)
			}
		}
	})
	t.Run("ErrEveryLength", func(t *testing.T) {
		r := mustRecoverer(t, id)
		for n := range len(key.Wrapped) {
			if b, err := r.Unwrap(t.Context(), vault.WrappedKey{KeyID: key.KeyID, Wrapped: key.Wrapped[:n]}, nil); err == nil || b != nil {
				t.Errorf("%d bytes open", n)
			}
		}
	})
}

func TestNewRecoveryRefuses(t *testing.T) {
	id := mustIdentity(t)
	for _, recipient := range []string{"age1x", strings.ToUpper(id.Recipient().String()) + "x", id.String(), "ssh-ed25519 AAAA"} {
		if _, err := NewRecovery(mustLocal(t, testMaster(1)), recipient); core.CodeOf(err) != core.Invalid || strings.Contains(err.Error(), recipient) {
			t.Errorf("%v", err)
		}
	}
	for _, file := range []string{"", "# nothing\n", id.Recipient().String(), id.String() + "x"} {
		if _, err := NewRecoverer([]byte(file)); core.CodeOf(err) != core.Invalid || strings.Contains(err.Error(), "SECRET-KEY-1Q") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// TestRecoveryRewrap: the second wrapping survives a change of the KMS key, and is made where there was none.
func TestRecoveryRewrap(t *testing.T) {
	s, old := startKMS(t)
	id, later := mustIdentity(t), mustIdentity(t)
	before := mustAWS(t, AWSConfig{KeyID: old})
	twice := mustGenerate(t, mustRecovery(t, before, id.Recipient().String()), ctxA)
	once := mustGenerate(t, before, ctxA)
	after := mustAWS(t, AWSConfig{KeyID: s.CreateKey()})
	move := func(recipient string, key vault.DataKey, id *age.X25519Identity) {
		t.Helper()
		k := mustRecovery(t, after, recipient)
		moved, err := k.Rewrap(t.Context(), key.WrappedKey, after.keyID, ctxA)
		if err != nil || moved.KeyID != after.keyID {
			t.Fatalf("%s, %v", moved.KeyID, err)
		}
		mustUnwrap(t, k, vault.DataKey{Plain: key.Plain, WrappedKey: moved}, ctxA)
		if id == nil {
			return
		}
		got, err := mustRecoverer(t, id).Unwrap(t.Context(), moved, nil)
		if err != nil || !bytes.Equal(got, key.Plain) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	move("", twice, id)
	move(later.Recipient().String(), twice, later)
	move(later.Recipient().String(), once, later)
	move("", once, nil)
}

// FuzzSplit: stored bytes of any shape are one wrapping, two, or damaged; two come back as the bytes they were.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("HVR1\x00\x00\x00\x01ab"))
	f.Add([]byte("HVR1\xff\xff\xff\xffab"))
	f.Add([]byte("\x01wrapped"))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, second, err := split(b)
		switch {
		case err != nil:
			if core.CodeOf(err) != core.Corrupt || first != nil || second != nil {
				t.Fatal(err)
			}
		case second == nil:
			if !bytes.Equal(first, b) {
				t.Fatal("one wrapping is changed")
			}
		default:
			if again, err := joined(first, second); len(b) <= maxBlob && (err != nil || !bytes.Equal(again, b)) {
				t.Fatalf("joined again: %v", err)
			}
		}
	})
}
