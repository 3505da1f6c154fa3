package kms

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// vectorsJSON was made by an implementation of its own of HChaCha20 and the associated data, over another library's
// ChaCha20-Poly1305. Frozen: what a released version wrapped must always unwrap.
//
//go:embed testdata/local_v1.json
var vectorsJSON []byte

type vector struct {
	Name    string            `json:"name"`
	Expect  string            `json:"expect"` // "ok" or the error's code
	Master  string            `json:"master"`
	KeyID   string            `json:"key_id"`
	DEK     string            `json:"dek"`
	Nonce   string            `json:"nonce"`
	Context map[string]string `json:"context"`
	Wrapped string            `json:"wrapped"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	var vs []vector
	if err := json.Unmarshal(vectorsJSON, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) < 10 {
		t.Fatalf("only %d vectors", len(vs))
	}
	return vs
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustLocal(t testing.TB, master []byte) *Local {
	t.Helper()
	l, err := NewLocal(master)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func testMaster(first byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

var ctxA = map[string]string{"hyperion-vault:secret-id": "6f1c2b6e-0d53-4f7a-9a51-7d0a7b0f4c11", "hyperion-vault:version": "7"}

func TestLocalVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			l := mustLocal(t, unhex(t, v.Master))
			dek, err := l.Unwrap(context.Background(), vault.WrappedKey{KeyID: v.KeyID, Wrapped: unhex(t, v.Wrapped)}, v.Context)
			if v.Expect != "ok" {
				if core.CodeOf(err) != core.Code(v.Expect) || dek != nil {
					t.Fatalf("got %d bytes and %v, want nothing and code %s", len(dek), err, v.Expect)
				}
				return
			}
			if err != nil || !bytes.Equal(dek, unhex(t, v.DEK)) {
				t.Fatalf("unwrap: %v", err)
			}
			if l.KeyID() != v.KeyID {
				t.Errorf("key id %s, want %s", l.KeyID(), v.KeyID)
			}
			var nonce [24]byte
			copy(nonce[:], unhex(t, v.Nonce))
			again, err := l.wrap(dek, nonce, v.Context)
			if err != nil || !bytes.Equal(again, unhex(t, v.Wrapped)) {
				t.Errorf("wrapping the same key again gives other bytes: %v", err)
			}
		})
	}
}

// TestLocalIsXChaCha shows that the two steps of withAEAD are the published construction.
func TestLocalIsXChaCha(t *testing.T) {
	master := testMaster(3)
	k, err := mustLocal(t, master).Generate(context.Background(), ctxA)
	if err != nil {
		t.Fatal(err)
	}
	x, err := chacha20poly1305.NewX(master)
	if err != nil {
		t.Fatal(err)
	}
	dek, err := x.Open(nil, k.Wrapped[1:25], k.Wrapped[25:], contextAAD(localWrapLabel, ctxA))
	if err != nil || !bytes.Equal(dek, k.Plain) {
		t.Fatalf("the ready-made cipher does not open it: %v", err)
	}
}

func TestLocalRoundTrip(t *testing.T) {
	l := mustLocal(t, testMaster(1))
	seen := map[string]bool{}
	for range 1000 {
		k, err := l.Generate(context.Background(), ctxA)
		if err != nil {
			t.Fatal(err)
		}
		if len(k.Plain) != 32 || len(k.Wrapped) != 73 || k.KeyID != l.KeyID() {
			t.Fatalf("plain %d, wrapped %d bytes, key id %s", len(k.Plain), len(k.Wrapped), k.KeyID)
		}
		if seen[string(k.Plain)] || seen[string(k.Wrapped[1:25])] || bytes.Contains(k.Wrapped, k.Plain) {
			t.Fatal("a key or nonce came twice, or the wrapped key shows the key")
		}
		seen[string(k.Plain)], seen[string(k.Wrapped[1:25])] = true, true
		got, err := l.Unwrap(context.Background(), k.WrappedKey, ctxA)
		if err != nil || !bytes.Equal(got, k.Plain) {
			t.Fatalf("unwrap: %v", err)
		}
	}
}

func TestLocalUnwrapRefuses(t *testing.T) {
	l := mustLocal(t, testMaster(1))
	k, err := l.Generate(context.Background(), ctxA)
	if err != nil {
		t.Fatal(err)
	}
	try := func(t *testing.T, key vault.WrappedKey, kctx map[string]string, want core.Code) {
		t.Helper()
		got, err := l.Unwrap(context.Background(), key, kctx)
		if got != nil || core.CodeOf(err) != want {
			t.Fatalf("got %d bytes and %v, want nothing and %s", len(got), err, want)
		}
		if strings.Contains(err.Error(), hex.EncodeToString(k.Plain)) {
			t.Fatal("the error holds the key")
		}
	}
	t.Run("ErrEveryByteChanged", func(t *testing.T) {
		for i := range k.Wrapped {
			w := bytes.Clone(k.Wrapped)
			w[i] ^= 0x01
			try(t, vault.WrappedKey{KeyID: k.KeyID, Wrapped: w}, ctxA, core.Corrupt)
		}
	})
	t.Run("ErrEveryLength", func(t *testing.T) {
		for n := range len(k.Wrapped) {
			try(t, vault.WrappedKey{KeyID: k.KeyID, Wrapped: k.Wrapped[:n]}, ctxA, core.Corrupt)
		}
		try(t, vault.WrappedKey{KeyID: k.KeyID, Wrapped: append(bytes.Clone(k.Wrapped), 0)}, ctxA, core.Corrupt)
	})
	t.Run("ErrContext", func(t *testing.T) {
		for _, c := range []map[string]string{
			nil, {},
			{"hyperion-vault:secret-id": ctxA["hyperion-vault:secret-id"]},
			{"hyperion-vault:secret-id": ctxA["hyperion-vault:secret-id"], "hyperion-vault:version": "8"},
			{"hyperion-vault:secret-id": "7", "hyperion-vault:version": ctxA["hyperion-vault:secret-id"]},
			{"hyperion-vault:secret-id": ctxA["hyperion-vault:secret-id"], "hyperion-vault:version": "7", "x": ""},
		} {
			try(t, k.WrappedKey, c, core.Corrupt)
		}
	})
	t.Run("ErrOtherMaster", func(t *testing.T) {
		other := mustLocal(t, testMaster(2))
		theirs, err := other.Generate(context.Background(), ctxA)
		if err != nil {
			t.Fatal(err)
		}
		try(t, theirs.WrappedKey, ctxA, core.Denied)
		_, err = l.Unwrap(context.Background(), theirs.WrappedKey, ctxA)
		if !strings.Contains(err.Error(), "wrapped under another master key ("+other.KeyID()+")") {
			t.Errorf("the error does not say which key: %v", err)
		}
		// With a forged id the cipher itself refuses.
		try(t, vault.WrappedKey{KeyID: l.KeyID(), Wrapped: theirs.Wrapped}, ctxA, core.Corrupt)
	})
	t.Run("ErrAnothersKeyID", func(t *testing.T) {
		other := mustLocal(t, bytes.Repeat([]byte{9}, 32))
		try(t, vault.WrappedKey{KeyID: other.KeyID(), Wrapped: k.Wrapped}, ctxA, core.Corrupt)
		_, err := l.Unwrap(context.Background(), vault.WrappedKey{KeyID: other.KeyID(), Wrapped: k.Wrapped}, ctxA)
		if !strings.Contains(err.Error(), "the row names another master key ("+other.KeyID()+")") {
			t.Error(err)
		}
		// What does not open may well be the other's.
		try(t, vault.WrappedKey{KeyID: other.KeyID(), Wrapped: k.Wrapped[1:]}, ctxA, core.Denied)
		try(t, vault.WrappedKey{KeyID: other.KeyID(), Wrapped: k.Wrapped}, other2(ctxA, "hyperion-vault:version", "8"), core.Denied)
	})
	t.Run("ErrOddKeyID", func(t *testing.T) {
		for _, id := range []string{"", "local:", "local:XYZ", "local:0123456789abcdeF", "arn:aws:kms:…", "local:0123456789abcdef0"} {
			_, err := l.Unwrap(context.Background(), vault.WrappedKey{KeyID: id, Wrapped: k.Wrapped}, ctxA)
			if core.CodeOf(err) != core.Corrupt || (id != "" && id != "local:" && strings.Contains(err.Error(), id)) {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}

// TestContextAAD lists pairs of contexts that a careless encoding would confuse.
func TestContextAAD(t *testing.T) {
	pairs := [][2]map[string]string{
		{{"a": "bc"}, {"ab": "c"}},
		{{"a": "b", "c": "d"}, {"a": "bcd"}},
		{{"a": ""}, {"": "a"}},
		{{}, {"": ""}},
		{{"a": "1", "b": "2"}, {"a": "2", "b": "1"}},
	}
	for _, p := range pairs {
		if bytes.Equal(contextAAD("l", p[0]), contextAAD("l", p[1])) {
			t.Errorf("%v and %v are the same", p[0], p[1])
		}
	}
	if bytes.Equal(contextAAD("l", nil), contextAAD("l\x00", nil)) {
		t.Error("labels run into the context")
	}
	if !bytes.Equal(contextAAD("l", nil), contextAAD("l", map[string]string{})) {
		t.Error("no context and an empty one differ")
	}
}

func TestNewLocalRefuses(t *testing.T) {
	for _, n := range []int{0, 1, 31, 33, 64} {
		if _, err := NewLocal(bytes.Repeat([]byte{7}, n)); core.CodeOf(err) != core.Invalid {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := NewLocal(make([]byte, 32)); core.CodeOf(err) != core.Invalid {
		t.Errorf("all zero: %v", err)
	}
}

func TestLocalClose(t *testing.T) {
	master := testMaster(9)
	l, err := NewLocal(master)
	if err != nil {
		t.Fatal(err)
	}
	k, err := l.Generate(context.Background(), ctxA)
	if err != nil {
		t.Fatal(err)
	}
	live := l.master.key()
	if !bytes.Equal(live, master) {
		t.Fatal("the key is not where it should be")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				if _, err := l.Unwrap(context.Background(), k.WrappedKey, ctxA); err != nil {
					if core.CodeOf(err) != core.Unavailable {
						t.Errorf("after Close: %v", err)
					}
					return
				}
			}
		})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if core.CodeOf(l.Check(context.Background())) != core.Unavailable || l.Locked() {
		t.Error("still ready after Close")
	}
	if _, err := l.Generate(context.Background(), ctxA); core.CodeOf(err) != core.Unavailable {
		t.Errorf("Generate after Close: %v", err)
	}
}

// TestLockedKeyWiped reads the bytes just before the memory goes: afterwards no code can.
func TestLockedKeyWiped(t *testing.T) {
	k, err := newLockedKey(testMaster(5))
	if err != nil {
		t.Fatal(err)
	}
	k.wipe()
	if !bytes.Equal(k.page, make([]byte, len(k.page))) {
		t.Error("the key is still there")
	}
	if err := k.free(); err != nil {
		t.Error(err)
	}
}

func TestLocalCancelled(t *testing.T) {
	l := mustLocal(t, testMaster(1))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Generate(ctx, ctxA); !errors.Is(err, context.Canceled) {
		t.Errorf("Generate: %v", err)
	}
	if _, err := l.Unwrap(ctx, vault.WrappedKey{}, ctxA); !errors.Is(err, context.Canceled) {
		t.Errorf("Unwrap: %v", err)
	}
	if err := l.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Check: %v", err)
	}
	if err := l.Check(context.Background()); err != nil {
		t.Errorf("Check: %v", err)
	}
}

// FuzzUnwrap feeds stored bytes of any shape: an error with a code, or the very key that was wrapped.
func FuzzUnwrap(f *testing.F) {
	seeds := 0
	for _, v := range vectors(f) {
		f.Add(v.KeyID, unhex(f, v.Wrapped), "hyperion-vault:version", v.Context["hyperion-vault:version"])
		seeds++
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	l := mustLocal(f, testMaster(0))
	f.Fuzz(func(t *testing.T, id string, wrapped []byte, k, v string) {
		kctx := map[string]string{k: v}
		dek, err := l.Unwrap(context.Background(), vault.WrappedKey{KeyID: id, Wrapped: wrapped}, kctx)
		if err != nil {
			if c := core.CodeOf(err); dek != nil || (c != core.Denied && c != core.Corrupt) {
				t.Fatalf("%d bytes and %v", len(dek), err)
			}
			return
		}
		var nonce [24]byte
		copy(nonce[:], wrapped[1:])
		again, err := l.wrap(dek, nonce, kctx)
		if err != nil || !bytes.Equal(again, wrapped) || id != l.KeyID() {
			t.Fatal("what unwraps does not wrap to the same bytes")
		}
	})
}
