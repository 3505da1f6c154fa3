package envelope

import (
	"encoding/hex"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Tokens in use must open after an upgrade, so the format is frozen.
func TestClaimsVector(t *testing.T) {
	key, nonce := make([]byte, KeySize), make([]byte, NonceSize)
	for i := range key {
		key[i] = byte(i)
	}
	for i := range nonce {
		nonce[i] = byte(0x40 + i)
	}
	id := [16]byte{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f}
	const want = "404142434445464748494a4b4c4d4e4f5051525354555657" +
		"af1b6b11bd855b2cad83e2dc8de1d8871e95e6c70ebb45e0fd761c1b4d52"
	sealed, err := sealClaimsWithNonce(key, nonce, id, []byte(`{"name":"web"}`))
	if err != nil || hex.EncodeToString(sealed) != want {
		t.Fatalf("sealed as %x, %v", sealed, err)
	}
	claims, err := OpenClaims(key, id, sealed)
	if err != nil || string(claims) != `{"name":"web"}` {
		t.Fatalf("opens as %q, %v", claims, err)
	}
	id[0] ^= 1
	if _, err := OpenClaims(key, id, sealed); core.CodeOf(err) != core.Unauthenticated {
		t.Errorf("opens under another id: %v", err)
	}
}
