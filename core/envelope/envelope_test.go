package envelope

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 17, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1<<20 - 1, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			key, plaintext, b := newKey(t), testBytes("round trip", size), testBinding()
			keyBefore, plaintextBefore := bytes.Clone(key), bytes.Clone(plaintext)
			s, err := Seal(key, b, plaintext)
			if err != nil {
				t.Fatal(err)
			}
			if s.EnvelopeVersion != Version || len(s.Nonce) != NonceSize || len(s.Ciphertext) != size+Overhead {
				t.Fatalf("sealed: version %d, nonce %d, ciphertext %d bytes", s.EnvelopeVersion, len(s.Nonce), len(s.Ciphertext))
			}
			if size > 15 && bytes.Contains(s.Ciphertext, plaintext[:16]) {
				t.Error("the ciphertext holds plaintext")
			}
			got, err := Open(key, b, s)
			if err != nil || got == nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("opens as %d bytes, %v", len(got), err)
			}
			if !bytes.Equal(key, keyBefore) || !bytes.Equal(plaintext, plaintextBefore) {
				t.Error("Seal or Open changed what the caller owns")
			}
		})
	}
}

func TestSealRefusesTooLong(t *testing.T) {
	s, err := Seal(newKey(t), testBinding(), make([]byte, core.MaxValueLen+1))
	if core.CodeOf(err) != core.TooLarge || s.Ciphertext != nil {
		t.Errorf("Seal of 1 MiB and a byte: %v", err)
	}
}

// A value longer than Seal writes is refused although its tag is right.
func TestOpenRefusesTooLong(t *testing.T) {
	key, nonce, b := newKey(t), testBytes("nonce", NonceSize), testBinding()
	ciphertext, ok := encrypt(key, nonce, b.AAD(), make([]byte, core.MaxValueLen+1))
	if !ok {
		t.Fatal("cannot encrypt")
	}
	got, err := Open(key, b, Sealed{EnvelopeVersion: Version, Nonce: nonce, Ciphertext: ciphertext})
	wantCorrupt(t, got, err)
}

// Every byte of everything that goes in matters: any one changed and the value
// does not open, with one and the same error.
func TestTamper(t *testing.T) {
	key, b, plaintext := newKey(t), testBinding(), []byte("correct horse battery staple")
	s, err := Seal(key, b, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	eachChange := func(t *testing.T, n int, change func(i int, mask byte)) {
		t.Helper()
		if n == 0 {
			t.Fatal("nothing to change")
		}
		for i := range n {
			for bit := range 8 {
				change(i, 1<<bit)
			}
		}
	}
	changed := func(p []byte, i int, mask byte) []byte { c := bytes.Clone(p); c[i] ^= mask; return c }
	refused := func(t *testing.T, key []byte, b Binding, s Sealed) {
		t.Helper()
		got, err := Open(key, b, s)
		wantCorrupt(t, got, err)
	}
	t.Run("Key", func(t *testing.T) {
		eachChange(t, len(key), func(i int, m byte) { refused(t, changed(key, i, m), b, s) })
	})
	t.Run("Nonce", func(t *testing.T) {
		eachChange(t, len(s.Nonce), func(i int, m byte) {
			refused(t, key, b, Sealed{s.EnvelopeVersion, changed(s.Nonce, i, m), s.Ciphertext})
		})
	})
	t.Run("Ciphertext", func(t *testing.T) {
		eachChange(t, len(s.Ciphertext), func(i int, m byte) {
			refused(t, key, b, Sealed{s.EnvelopeVersion, s.Nonce, changed(s.Ciphertext, i, m)})
		})
	})
	t.Run("EnvelopeVersion", func(t *testing.T) {
		for bit := range 16 {
			refused(t, key, b, Sealed{s.EnvelopeVersion ^ int16(1<<bit), s.Nonce, s.Ciphertext})
		}
	})
	t.Run("ID", func(t *testing.T) {
		eachChange(t, len(b.ID), func(i int, m byte) { c := b; c.ID[i] ^= m; refused(t, key, c, s) })
	})
	t.Run("Name", func(t *testing.T) {
		eachChange(t, len(b.Name), func(i int, m byte) {
			c := b
			c.Name = core.Name(changed([]byte(b.Name), i, m))
			refused(t, key, c, s)
		})
	})
	t.Run("Version", func(t *testing.T) {
		for bit := range 64 {
			c := b
			c.Version ^= 1 << bit
			refused(t, key, c, s)
		}
	})
	t.Run("ContentType", func(t *testing.T) {
		eachChange(t, len(b.ContentType), func(i int, m byte) {
			c := b
			c.ContentType = core.ContentType(changed([]byte(b.ContentType), i, m))
			refused(t, key, c, s)
		})
	})
	t.Run("AAD", func(t *testing.T) {
		aad := b.AAD()
		eachChange(t, len(aad), func(i int, m byte) {
			if got, ok := decrypt(key, s.Nonce, changed(aad, i, m), s.Ciphertext); ok || got != nil {
				t.Errorf("opens with byte %d of the AAD changed", i)
			}
		})
	})
	t.Run("Truncated", func(t *testing.T) {
		for n := range len(s.Ciphertext) {
			refused(t, key, b, Sealed{s.EnvelopeVersion, s.Nonce, s.Ciphertext[:n]})
			refused(t, key, b, Sealed{s.EnvelopeVersion, s.Nonce, s.Ciphertext[n+1:]})
		}
		for n := range len(s.Nonce) {
			refused(t, key, b, Sealed{s.EnvelopeVersion, s.Nonce[:n], s.Ciphertext})
		}
		for n := range len(key) {
			refused(t, key[:n], b, s)
		}
	})
	t.Run("Extended", func(t *testing.T) {
		for _, more := range [][]byte{{0}, {0xff}, make([]byte, 16), s.Ciphertext} {
			refused(t, key, b, Sealed{s.EnvelopeVersion, s.Nonce, slices.Concat(s.Ciphertext, more)})
			refused(t, key, b, Sealed{s.EnvelopeVersion, s.Nonce, slices.Concat(more, s.Ciphertext)})
			refused(t, key, b, Sealed{s.EnvelopeVersion, slices.Concat(s.Nonce, more), s.Ciphertext})
			refused(t, slices.Concat(key, more), b, s)
		}
	})
	if got, err := Open(key, b, s); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("unchanged it opens as %q, %v", got, err)
	}
}

// Two sealed versions of one secret cannot change places, with their keys or
// without.
func TestVersionsDoNotChangePlaces(t *testing.T) {
	b1, b2 := testBinding(), testBinding()
	b2.Version++
	k1, k2 := newKey(t), newKey(t)
	s1, err1 := Seal(k1, b1, []byte("first"))
	s2, err2 := Seal(k2, b2, []byte("second"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, c := range []struct {
		key []byte
		b   Binding
		s   Sealed
	}{
		{k1, b1, s2}, {k2, b1, s2}, {k1, b2, s1}, {k2, b2, s1}, {k2, b1, s1},
		{k1, b1, Sealed{s1.EnvelopeVersion, s2.Nonce, s1.Ciphertext}},
	} {
		got, err := Open(c.key, c.b, c.s)
		wantCorrupt(t, got, err)
	}
}

func TestNoncesAreUnique(t *testing.T) {
	const n = 100_000
	key, b := newKey(t), testBinding()
	seen := make(map[[NonceSize]byte]bool, n)
	for range n {
		s, err := Seal(key, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[[NonceSize]byte(s.Nonce)] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d nonces differ", len(seen), n)
	}
}

func TestNewDEK(t *testing.T) {
	a, b := newKey(t), newKey(t)
	if len(a) != KeySize || bytes.Equal(a, b) || bytes.Equal(a, make([]byte, KeySize)) {
		t.Errorf("keys of %d bytes, equal: %v", len(a), bytes.Equal(a, b))
	}
}

func TestKMSContext(t *testing.T) {
	b := testBinding()
	want := map[string]string{"hyperion-vault:secret-id": b.ID.String(), "hyperion-vault:version": "7"}
	if got := b.KMSContext(); !maps.Equal(got, want) {
		t.Errorf("context is %v, want %v", got, want)
	}
	if strings.Contains(fmt.Sprint(b.KMSContext()), string(b.Name)) {
		t.Error("the context holds the name")
	}
}

func TestWipe(t *testing.T) {
	b := []byte("secret")
	Wipe(b[:3])
	if string(b) != "\x00\x00\x00ret" {
		t.Errorf("wiped to %q", b)
	}
	Wipe(nil)
}

func TestEqual(t *testing.T) {
	equal := func(a, b string) {
		t.Helper()
		if !Equal([]byte(a), []byte(b)) {
			t.Errorf("%q and %q differ", a, b)
		}
	}
	differ := func(a, b string) {
		t.Helper()
		if Equal([]byte(a), []byte(b)) || Equal([]byte(b), []byte(a)) {
			t.Errorf("%q and %q are equal", a, b)
		}
	}
	equal("", "")
	equal("a", "a")
	equal("a\x00b", "a\x00b")
	differ("", "a")
	differ("a", "A")
	differ("a", "a\x00")
	differ("ab", "b")
	differ(strings.Repeat("x", 1000)+"a", strings.Repeat("x", 1000)+"b")
	if !Equal(nil, []byte{}) {
		t.Error("nil and empty differ")
	}
}

func TestErrorsHoldNoKeyOrValue(t *testing.T) {
	key, value := []byte("KEYKEYKEYKEYKEYKEYKEYKEYKEYKEYKEY"), []byte("VALUEVALUEVALUE")
	_, sealErr := Seal(key, testBinding(), value) // 33 bytes: one too many
	_, openErr := Open(key, testBinding(), Sealed{EnvelopeVersion: 1, Nonce: value, Ciphertext: value})
	for _, err := range []error{sealErr, openErr} {
		if err == nil || strings.Contains(err.Error(), "KEYK") || strings.Contains(err.Error(), "VALUEV") {
			t.Errorf("error is %v", err)
		}
	}
}

// parseAAD undoes Binding.AAD. That it can is what makes bindings unambiguous.
func parseAAD(aad []byte) (b Binding, ok bool) {
	rest, ok := bytes.CutPrefix(aad, []byte("hyperion-vault/secret/v1\x00"))
	take := func(n uint64) []byte {
		if !ok || n > uint64(len(rest)) {
			ok = false
			return make([]byte, 8)
		}
		v := rest[:n]
		rest = rest[n:]
		return v
	}
	length := func() uint64 { return uint64(binary.BigEndian.Uint32(take(4))) }
	copy(b.ID[:], take(16))
	b.Name = core.Name(take(length()))
	b.Version = binary.BigEndian.Uint64(take(8))
	b.ContentType = core.ContentType(take(length()))
	return b, ok && len(rest) == 0
}

func FuzzAADIsUnambiguous(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), "a1", uint64(2), "text/plain")
	f.Add([]byte("0123456789abcdef"), "a", uint64(12), "text/plain")
	f.Add([]byte{}, "", uint64(0), "")
	f.Add([]byte{0xff}, "a\x00\x00\x00\x01", uint64(1<<63), "\x00")
	f.Fuzz(func(t *testing.T, id []byte, name string, version uint64, ct string) {
		b := Binding{Name: core.Name(name), Version: version, ContentType: core.ContentType(ct)}
		copy(b.ID[:], id)
		if got, ok := parseAAD(b.AAD()); !ok || got != b {
			t.Errorf("%+v reads back as %+v, %v", b, got, ok)
		}
	})
}

// Whatever a row holds, Open answers with the value that was sealed or with the
// one error, and never panics.
func FuzzOpen(f *testing.F) {
	key, b := testBytes("key fuzz", KeySize), testBinding()
	s, err := sealWithNonce(key, testBytes("nonce fuzz", NonceSize), b, []byte("s3cr3t"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.EnvelopeVersion, s.Nonce, s.Ciphertext)
	f.Add(int16(0), []byte{}, []byte{})
	f.Add(s.EnvelopeVersion, s.Nonce[:12], s.Ciphertext)
	f.Add(s.EnvelopeVersion, s.Nonce, s.Ciphertext[:Overhead])
	f.Fuzz(func(t *testing.T, version int16, nonce, ciphertext []byte) {
		got, err := Open(key, b, Sealed{version, nonce, ciphertext})
		if err != nil {
			wantCorrupt(t, got, err)
			return
		}
		if string(got) != "s3cr3t" || !bytes.Equal(nonce, s.Nonce) || !bytes.Equal(ciphertext, s.Ciphertext) {
			t.Errorf("a forged row opens as %q", got)
		}
	})
}

func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := NewDEK()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func BenchmarkSeal(b *testing.B) {
	key, binding, value := testBytes("key", KeySize), testBinding(), testBytes("value", 64)
	for b.Loop() {
		if _, err := Seal(key, binding, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	key, binding := testBytes("key", KeySize), testBinding()
	s, err := Seal(key, binding, testBytes("value", 64))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Open(key, binding, s); err != nil {
			b.Fatal(err)
		}
	}
}
