package token

import (
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// BatchPrefix starts every batch token. A batch token is not stored: it contains its claims, sealed under a token key.
const BatchPrefix = "hvb_"

const (
	batchVersion = 1
	batchHead    = 1 + 16 // version and key id
	// maxBatchLen is the longest batch token.
	maxBatchLen = len(BatchPrefix) + (batchHead+envelope.NonceSize+envelope.MaxClaimsLen+envelope.Overhead+2)*4/3
)

// SealBatch returns a batch token with the claims, sealed under the token key with that id. Its text is BatchPrefix and
// the unpadded base64url of: version 1, key id[16], nonce[24], ciphertext. The caller keeps the key and wipes it. The
// errors are those of envelope.SealClaims: Invalid for empty or too long claims and for a key of a wrong length.
func SealBatch(key []byte, keyID [16]byte, claims []byte) (Token, error) {
	sealed, err := envelope.SealClaims(key, keyID, claims)
	if err != nil {
		return Token{}, err
	}
	raw := append(append([]byte{batchVersion}, keyID[:]...), sealed...)
	text := BatchPrefix + encoding.EncodeToString(raw)
	return Token{text: &text}, nil
}

// Batch is a batch token that was parsed and not opened, so nothing in it can be trusted yet. Printing a Batch shows no
// secret, because it opens only with the key. The text that it was parsed from is the credential.
type Batch struct {
	KeyID  [16]byte // of the token key that opens it
	sealed []byte
}

// IsBatch reports whether s begins like a batch token. ParseBatch decides whether it is one.
func IsBatch(s string) bool {
	return len(s) >= len(BatchPrefix) && s[:len(BatchPrefix)] == BatchPrefix
}

// ParseBatch splits a batch token into its parts. Each token has one spelling. Anything else is an Unauthenticated error
// with a constant text.
func ParseBatch(s string) (Batch, error) {
	if !IsBatch(s) || len(s) > maxBatchLen {
		return Batch{}, malformed()
	}
	body := s[len(BatchPrefix):]
	raw, err := encoding.DecodeString(body)
	// The decoder skips line breaks, so the length of what it read counts too.
	if err != nil || encoding.EncodedLen(len(raw)) != len(body) || len(raw) <= batchHead || raw[0] != batchVersion {
		return Batch{}, malformed()
	}
	return Batch{KeyID: [16]byte(raw[1:batchHead]), sealed: raw[batchHead:]}, nil
}

// Open returns the claims if the token was sealed under this key. Otherwise it returns an Unauthenticated error with a
// constant text. The caller keeps the key and wipes it.
func (b Batch) Open(key []byte) ([]byte, error) {
	claims, err := envelope.OpenClaims(key, b.KeyID, b.sealed)
	if err != nil {
		return nil, core.Wrap(core.Unauthenticated, err, "the token is not valid")
	}
	return claims, nil
}
