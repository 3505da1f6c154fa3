package envelope

import (
	"crypto/rand"

	"github.com/hyperiondb/hyperion-vault/core"
)

// claimsLabel starts the associated data of sealed claims, so that nothing else sealed under the same key opens as such.
const claimsLabel = "hyperion-vault/batch-token/v1"

// MaxClaimsLen is the longest claims of a batch token, in bytes. The token travels in a header of every request.
const MaxClaimsLen = 4096

// SealClaims seals the claims of a batch token under a token key of KeySize bytes. It returns a nonce of NonceSize bytes
// and the ciphertext, bound to the id of that key. One key seals many tokens, because 24 random bytes of nonce do not
// repeat. Empty claims, claims longer than MaxClaimsLen and a key of a wrong length are Invalid errors. The caller keeps
// key and claims, unchanged.
func SealClaims(key []byte, keyID [16]byte, claims []byte) ([]byte, error) {
	nonce := make([]byte, NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, core.Wrap(core.Internal, err, "read random bytes for a nonce")
	}
	return sealClaimsWithNonce(key, nonce, keyID, claims)
}

// sealClaimsWithNonce is SealClaims with the nonce given. Only SealClaims and tests call it.
func sealClaimsWithNonce(key, nonce []byte, keyID [16]byte, claims []byte) ([]byte, error) {
	if len(claims) == 0 || len(claims) > MaxClaimsLen {
		return nil, core.Errorf(core.Invalid, "claims are %d bytes long, want 1 to %d", len(claims), MaxClaimsLen)
	}
	ciphertext, ok := encrypt(key, nonce, claimsAAD(keyID), claims)
	if !ok {
		return nil, core.Errorf(core.Invalid, "token key is %d bytes long, want %d", len(key), KeySize)
	}
	return append(nonce[:NonceSize:NonceSize], ciphertext...), nil
}

// OpenClaims returns the claims that SealClaims sealed under exactly this key and id. Every failure is an Unauthenticated
// error with one constant text. The caller keeps key and sealed, and owns the result.
func OpenClaims(key []byte, keyID [16]byte, sealed []byte) ([]byte, error) {
	n := len(sealed) - NonceSize - Overhead
	if n < 1 || n > MaxClaimsLen {
		return nil, errClaims()
	}
	claims, ok := decrypt(key, sealed[:NonceSize], claimsAAD(keyID), sealed[NonceSize:])
	if !ok {
		return nil, errClaims()
	}
	return claims, nil
}

func errClaims() error { return core.Errorf(core.Unauthenticated, "the token is not valid") }

func claimsAAD(keyID [16]byte) []byte {
	aad := make([]byte, 0, len(claimsLabel)+1+len(keyID))
	return append(append(append(aad, claimsLabel...), 0), keyID[:]...)
}
