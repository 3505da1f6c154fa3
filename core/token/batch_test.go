package token

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

func batchKey(t testing.TB) []byte {
	t.Helper()
	key, err := envelope.NewDEK()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var batchID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func TestBatch(t *testing.T) {
	key := batchKey(t)
	for _, n := range []int{1, 2, 3, 300, envelope.MaxClaimsLen} {
		claims := bytes.Repeat([]byte("x"), n)
		made, err := SealBatch(key, batchID, claims)
		if err != nil {
			t.Fatal(err)
		}
		text := made.Reveal()
		if !IsBatch(text) || len(text) > maxBatchLen || strings.Contains(fmt.Sprint(made), text) {
			t.Fatalf("the token of %d bytes prints as %v", len(text), made)
		}
		b, err := ParseBatch(text)
		if err != nil || b.KeyID != batchID {
			t.Fatalf("parsed as %v, %v", b.KeyID, err)
		}
		got, err := b.Open(key)
		if err != nil || !bytes.Equal(got, claims) {
			t.Fatalf("opens as %d bytes, %v", len(got), err)
		}
		if _, err := Parse(text); err == nil {
			t.Error("a batch token is considered a stored one")
		}
	}
	for _, n := range []int{0, envelope.MaxClaimsLen + 1} {
		if _, err := SealBatch(key, batchID, make([]byte, n)); core.CodeOf(err) != core.Invalid {
			t.Errorf("claims of %d bytes: %v", n, err)
		}
	}
	if _, err := SealBatch(key[1:], batchID, []byte("x")); core.CodeOf(err) != core.Invalid {
		t.Errorf("a short key: %v", err)
	}
}

// Whatever character of a batch token is changed, it does not open.
func TestBatchTampered(t *testing.T) {
	key := batchKey(t)
	made, err := SealBatch(key, batchID, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	text := made.Reveal()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	tried := 0
	for i := range text {
		for _, c := range []byte(alphabet + "=\n+/") {
			if c == text[i] {
				continue
			}
			tried++
			refuse(t, key, text[:i]+string(c)+text[i+1:])
		}
		refuse(t, key, text[:i])
		refuse(t, key, text[:i]+"\n"+text[i:])
		refuse(t, key, text[:i]+"A"+text[i:])
	}
	if tried < 1000 {
		t.Fatalf("tried %d changes", tried)
	}
	refuse(t, batchKey(t), text)
	refuse(t, nil, text)
}

func refuse(t *testing.T, key []byte, text string) {
	t.Helper()
	b, err := ParseBatch(text)
	if err == nil {
		_, err = b.Open(key)
	}
	if core.CodeOf(err) != core.Unauthenticated || err != nil && text != "" && strings.Contains(err.Error(), text) {
		t.Errorf("%q: %v", text, err)
	}
}

// A key sealed for one purpose opens nothing of another.
func TestBatchIsNoSecret(t *testing.T) {
	key := batchKey(t)
	made, err := SealBatch(key, batchID, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseBatch(made.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	binding := envelope.Binding{ID: core.SecretID(b.KeyID), Name: "a", Version: 1, ContentType: "text/plain"}
	sealed := envelope.Sealed{EnvelopeVersion: 1, Nonce: b.sealed[:envelope.NonceSize], Ciphertext: b.sealed[envelope.NonceSize:]}
	if _, err := envelope.Open(key, binding, sealed); core.CodeOf(err) != core.Corrupt {
		t.Errorf("a batch token opens as a secret: %v", err)
	}
}

func FuzzParseBatch(f *testing.F) {
	made, err := SealBatch(bytes.Repeat([]byte{7}, envelope.KeySize), batchID, []byte(`{"a":1}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made.Reveal())
	f.Add("hvb_")
	f.Add("hvt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	key := bytes.Repeat([]byte{9}, envelope.KeySize)
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBatch(s)
		if err != nil {
			if core.CodeOf(err) != core.Unauthenticated {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if again := BatchPrefix + encoding.EncodeToString(append(append([]byte{batchVersion}, b.KeyID[:]...), b.sealed...)); again != s {
			t.Errorf("%q is also spelt %q", s, again)
		}
		if _, err := b.Open(key); err == nil {
			t.Errorf("%q opens under a key that sealed nothing", s)
		}
	})
}
