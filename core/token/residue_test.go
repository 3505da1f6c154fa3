package token_test

import (
	"bytes"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// TestTokensAreWiped: the bytes that a token spells stay nowhere, be it new or one that was presented.
func TestTokensAreWiped(t *testing.T) {
	v := residue.New(t, token.Size)
	drawn := v.Bytes()
	made, err := token.New(bytes.NewReader(drawn))
	if err != nil {
		t.Fatal(err)
	}
	clear(drawn)
	v.Want(0, "a new token")
	if _, err := token.Parse(made.Reveal()); err != nil {
		t.Fatal(err)
	}
	v.Want(0, "one that was presented")
}
