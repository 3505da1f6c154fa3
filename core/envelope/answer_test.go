package envelope

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

func answerBinding() AnswerBinding {
	return AnswerBinding{ID: [16]byte{1, 2, 3}, Fingerprint: [32]byte{4, 5}, Path: "secret/data/app/db"}
}

func TestAnswer(t *testing.T) {
	key := bytes.Repeat([]byte{7}, KeySize)
	for _, n := range []int{1, 2, 4096, MaxAnswerLen} {
		answer := bytes.Repeat([]byte("x"), n)
		sealed, err := SealAnswer(key, answerBinding(), answer)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenAnswer(key, answerBinding(), sealed)
		if err != nil || !bytes.Equal(got, answer) {
			t.Fatalf("%d bytes open as %d, %v", n, len(got), err)
		}
	}
	for n, code := range map[int]core.Code{0: core.Invalid, MaxAnswerLen + 1: core.TooLarge} {
		if _, err := SealAnswer(key, answerBinding(), make([]byte, n)); core.CodeOf(err) != code {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := SealAnswer(key[1:], answerBinding(), []byte("x")); core.CodeOf(err) != core.Invalid {
		t.Errorf("a short key: %v", err)
	}
}

// TestAnswerIsBound: an answer opens as nothing but what it was sealed as.
func TestAnswerIsBound(t *testing.T) {
	key := bytes.Repeat([]byte{7}, KeySize)
	sealed, err := SealAnswer(key, answerBinding(), []byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, key []byte, b AnswerBinding, s Sealed) {
		t.Helper()
		if got, err := OpenAnswer(key, b, s); core.CodeOf(err) != core.Corrupt || got != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for what, change := range map[string]func(*AnswerBinding){
		"another id": func(b *AnswerBinding) { b.ID[15]++ }, "another token": func(b *AnswerBinding) { b.Fingerprint[31]++ },
		"another path": func(b *AnswerBinding) { b.Path = "secret/data/app/d" },
	} {
		b := answerBinding()
		change(&b)
		refuse(what, key, b, sealed)
	}
	refuse("another key", bytes.Repeat([]byte{8}, KeySize), answerBinding(), sealed)
	refuse("no key", nil, answerBinding(), sealed)
	for i := range sealed.Ciphertext {
		s := sealed
		s.Ciphertext = bytes.Clone(sealed.Ciphertext)
		s.Ciphertext[i] ^= 1
		refuse("a changed byte", key, answerBinding(), s)
		s.Ciphertext = sealed.Ciphertext[:i]
		refuse("cut", key, answerBinding(), s)
	}
	other := sealed
	other.EnvelopeVersion++
	refuse("another version", key, answerBinding(), other)
	secret := Binding{ID: core.SecretID(answerBinding().ID), Name: "a", Version: 1, ContentType: "text/plain"}
	if _, err := Open(key, secret, sealed); core.CodeOf(err) != core.Corrupt {
		t.Errorf("an answer opens as a secret: %v", err)
	}
}

// TestAnswerVector freezes the format: what an earlier release wrapped opens in a later one.
func TestAnswerVector(t *testing.T) {
	key, nonce := bytes.Repeat([]byte{7}, KeySize), bytes.Repeat([]byte{9}, NonceSize)
	sealed, err := sealAnswerWithNonce(key, nonce, answerBinding(), []byte(`{"data":null}`))
	if err != nil {
		t.Fatal(err)
	}
	const want = "c55086eb08cb5b589a67645015db251d5f2ed8bbf7c80dc773ef88ce92"
	if got := hex.EncodeToString(sealed.Ciphertext); got != want {
		t.Errorf("the ciphertext is %s", got)
	}
	if c := answerBinding().KMSContext()["hyperion-vault:wrapped-answer-id"]; c != "01020300-0000-0000-0000-000000000000" {
		t.Errorf("the context is %s", c)
	}
}
