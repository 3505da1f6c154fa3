package envelope

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/hyperiondb/hyperion-vault/core"
)

// answerLabel starts the associated data of wrapped answers, so that nothing else sealed under the same key opens as one.
const answerLabel = "hyperion-vault/wrapped-answer/v1"

const contextAnswer = "hyperion-vault:wrapped-answer-id"

// MaxAnswerLen is the longest answer that can be wrapped, in bytes.
const MaxAnswerLen = 2 << 20

// AnswerBinding says what a wrapped answer belongs to: its id, the fingerprint of the one token that takes it, and the path
// of the request that it answers. A row that is given another token's fingerprint does not open.
type AnswerBinding struct {
	ID          [16]byte
	Fingerprint [32]byte
	Path        string
}

// AAD returns the associated data:
//
//	"hyperion-vault/wrapped-answer/v1" 0x00 id[16] fingerprint[32] u32be(len(path)) path
func (b AnswerBinding) AAD() []byte {
	aad := make([]byte, 0, len(answerLabel)+1+len(b.ID)+len(b.Fingerprint)+4+len(b.Path))
	aad = append(append(append(append(aad, answerLabel...), 0), b.ID[:]...), b.Fingerprint[:]...)
	return append(binary.BigEndian.AppendUint32(aad, uint32(len(b.Path))), b.Path...)
}

// KMSContext returns the encryption context under which the data key of the answer is wrapped. The map is the caller's.
func (b AnswerBinding) KMSContext() map[string]string {
	return map[string]string{contextAnswer: core.SecretID(b.ID).String()}
}

// SealAnswer seals an answer of 1 to MaxAnswerLen bytes under a data key of KeySize bytes that seals nothing else. A longer
// one is a TooLarge error, an empty one and a key of a wrong length are Invalid errors. The caller keeps key and answer,
// unchanged.
func SealAnswer(key []byte, b AnswerBinding, answer []byte) (Sealed, error) {
	nonce := make([]byte, NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return Sealed{}, core.Wrap(core.Internal, err, "read random bytes for a nonce")
	}
	return sealAnswerWithNonce(key, nonce, b, answer)
}

// sealAnswerWithNonce is SealAnswer with the nonce given. Only SealAnswer and tests call it.
func sealAnswerWithNonce(key, nonce []byte, b AnswerBinding, answer []byte) (Sealed, error) {
	switch {
	case len(answer) > MaxAnswerLen:
		return Sealed{}, core.Errorf(core.TooLarge, "the answer is %d bytes long, and %d can be wrapped", len(answer), MaxAnswerLen)
	case len(answer) == 0:
		return Sealed{}, core.Errorf(core.Invalid, "there is no answer to wrap")
	}
	ciphertext, ok := encrypt(key, nonce, b.AAD(), answer)
	if !ok {
		return Sealed{}, core.Errorf(core.Invalid, "data key is %d bytes long, want %d", len(key), KeySize)
	}
	return Sealed{EnvelopeVersion: Version, Nonce: nonce, Ciphertext: ciphertext}, nil
}

// OpenAnswer returns the answer that was sealed under exactly this key and binding. Every failure is a Corrupt error with one
// constant text. The caller wipes the result, which is nil on error.
func OpenAnswer(key []byte, b AnswerBinding, s Sealed) ([]byte, error) {
	n := len(s.Ciphertext) - Overhead
	if s.EnvelopeVersion == Version && n >= 1 && n <= MaxAnswerLen {
		if answer, ok := decrypt(key, s.Nonce, b.AAD(), s.Ciphertext); ok {
			return answer, nil
		}
	}
	return nil, core.Errorf(core.Corrupt, "the wrapped answer does not open: it was changed, or belongs to another token or path")
}
