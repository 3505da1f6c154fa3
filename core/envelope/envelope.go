// Package envelope seals one version of a secret with XChaCha20-Poly1305 and
// opens it again, as the same secret, version, name and content type only.
//
// Every version has its own data key and a fresh random 24-byte nonce. Seal draws
// the nonce itself, so no caller can use one twice. The associated data
// (Binding.AAD) binds the sealed bytes to what they belong to. So a row that is
// moved, renamed or edited by hand does not open. XChaCha20-Poly1305 does not commit
// to its key. That is another reason for a key per version, whose wrapping is bound
// to the same id and version (Binding.KMSContext).
//
// # Who wipes
//
// Seal, Open, Equal and AAD wipe nothing that the caller owns. The caller wipes data
// keys, plaintexts and the results of NewDEK and Open with Wipe, on every path out.
// Go cannot wipe everything. The cipher keeps the key in its own structure,
// registers spill to stacks, and stacks are copied when they grow. Such copies
// live until the memory is used again, which is one reason why the processes that
// hold keys forbid core dumps. A plaintext turned into a Go string cannot be wiped
// at all.
//
// All functions may be called concurrently. This is the only package of core
// that uses crypto/rand; a kernel that gives no random bytes ends the process.
package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"runtime"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// Version is the envelope version that Seal writes. Open reads no other yet.
	Version = 1
	// KeySize is the length of a data key, in bytes.
	KeySize = chacha20poly1305.KeySize
	// NonceSize is the length of a nonce, in bytes.
	NonceSize = chacha20poly1305.NonceSizeX
	// Overhead is how much longer a ciphertext is than its plaintext, in bytes.
	Overhead = chacha20poly1305.Overhead
)

// Sealed is a sealed value as it is stored. It holds nothing secret. The zero
// Sealed opens under no key.
type Sealed struct {
	// EnvelopeVersion says how Nonce, Ciphertext and the associated data are made.
	EnvelopeVersion int16
	// Nonce is NonceSize random bytes.
	Nonce []byte
	// Ciphertext is the encrypted value and its tag, Overhead bytes longer than
	// the value.
	Ciphertext []byte
}

// Seal encrypts plaintext of 0 to core.MaxValueLen bytes under dek and binds it to
// b. dek has KeySize bytes and must not have sealed another version. A wrong key
// length and a binding that names no version of a secret are Invalid errors. A
// longer plaintext is a TooLarge error. The caller keeps dek and plaintext,
// unchanged.
func Seal(dek []byte, b Binding, plaintext []byte) (Sealed, error) {
	nonce := make([]byte, NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return Sealed{}, core.Wrap(core.Internal, err, "read random bytes for a nonce")
	}
	return sealWithNonce(dek, nonce, b, plaintext)
}

// sealWithNonce is Seal with the nonce given. Only Seal and tests call it: a
// nonce used twice under one key gives away both plaintexts.
func sealWithNonce(dek, nonce []byte, b Binding, plaintext []byte) (Sealed, error) {
	if err := b.check(); err != nil {
		return Sealed{}, err
	}
	if len(plaintext) > core.MaxValueLen {
		return Sealed{}, core.Errorf(core.TooLarge, "value is %d bytes long, the limit is %d",
			len(plaintext), core.MaxValueLen)
	}
	ciphertext, ok := encrypt(dek, nonce, b.AAD(), plaintext)
	if !ok {
		return Sealed{}, core.Errorf(core.Invalid, "data key is %d bytes long, want %d", len(dek), KeySize)
	}
	return Sealed{EnvelopeVersion: Version, Nonce: nonce, Ciphertext: ciphertext}, nil
}

// errCorrupt is the only answer of Open to any failure. Only a person who forges
// rows would gain from knowing which check failed.
const errCorrupt = "stored value does not open: " +
	"it was changed, or belongs to another secret, name, version or content type"

// Open returns the plaintext of s if it was sealed under dek with exactly this b.
// Every failure, whatever its reason, is a Corrupt error with one constant text.
// The caller wipes the result. It is nil on error, and empty but not nil for an
// empty plaintext.
func Open(dek []byte, b Binding, s Sealed) ([]byte, error) {
	// A length outside what Seal can write is refused before any work.
	n := len(s.Ciphertext) - Overhead
	if s.EnvelopeVersion != Version || n < 0 || n > core.MaxValueLen {
		return nil, core.Errorf(core.Corrupt, errCorrupt)
	}
	plaintext, ok := decrypt(dek, s.Nonce, b.AAD(), s.Ciphertext)
	if !ok {
		return nil, core.Errorf(core.Corrupt, errCorrupt)
	}
	return plaintext, nil
}

// encrypt is the bare cipher; ok is false when key or nonce has a wrong length.
func encrypt(key, nonce, aad, plaintext []byte) (ciphertext []byte, ok bool) {
	if len(nonce) != NonceSize {
		return nil, false
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, false
	}
	return aead.Seal(make([]byte, 0, len(plaintext)+Overhead), nonce, plaintext, aad), true
}

// decrypt is the bare cipher; ok is false when key or nonce has a wrong length
// or the tag does not match.
func decrypt(key, nonce, aad, ciphertext []byte) (plaintext []byte, ok bool) {
	if len(nonce) != NonceSize || len(ciphertext) < Overhead {
		return nil, false
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, false
	}
	// The cipher wipes its output itself when the tag does not match.
	plaintext, err = aead.Open(make([]byte, 0, len(ciphertext)-Overhead), nonce, ciphertext, aad)
	return plaintext, err == nil
}

// NewDEK returns a fresh random data key of KeySize bytes, for keepers that make
// data keys themselves. The caller wipes it.
func NewDEK() ([]byte, error) {
	dek := make([]byte, KeySize)
	if _, err := rand.Read(dek); err != nil {
		return nil, core.Wrap(core.Internal, err, "read random bytes for a data key")
	}
	return dek, nil
}

// Wipe overwrites b with zeros. A nil b is accepted. Wipe does not reach copies of b.
// It is never inlined, because the compiler may drop stores to memory that it knows
// is not read again.
//
//go:noinline
func Wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(b)
}

// Equal reports whether a and b hold the same bytes. Its time reveals nothing of
// where they differ, because it compares SHA-256 digests. The time to hash still
// reveals how long each of them is. The caller keeps a and b.
func Equal(a, b []byte) bool {
	da, db := sha256.Sum256(a), sha256.Sum256(b)
	equal := subtle.ConstantTimeCompare(da[:], db[:]) == 1
	Wipe(da[:])
	Wipe(db[:])
	return equal
}
