package kms

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// The wrapped format, version 1: one byte version, the 24-byte nonce, then the sealed 32-byte data key with its tag.
const (
	localVersion = 1
	localLen     = 1 + chacha20poly1305.NonceSizeX + envelope.KeySize + chacha20poly1305.Overhead
)

const (
	// localPrefix begins every key id of a Local.
	localPrefix = "local:"
	// localIDLabel keeps the key's published digest apart from any other digest of the same bytes.
	localIDLabel = "hyperion-vault/local-kms/v1"
	// localWrapLabel begins the associated data; it names the format, so that a later format cannot be opened as this.
	localWrapLabel = "hyperion-vault/local-kms/wrap/v1"
)

// Local wraps data keys with XChaCha20-Poly1305 under one master key. The encryption context is associated data, so a
// wrapped key opens only with the context that it was made for. Safe for concurrent use.
type Local struct {
	id string

	mu     sync.RWMutex
	master *lockedKey // nil once closed
}

var _ vault.Keeper = (*Local)(nil)

// NewLocal returns a keeper with its own copy of master, which has 32 bytes. The copy is kept out of core dumps, and
// out of swap where the limits allow. The caller wipes master and closes the Local. The error is core.Invalid when
// master has another length or is all zero bytes, because a key of zeros was forgotten and not drawn at random. It is
// core.Unavailable when there is no memory for the copy.
func NewLocal(master []byte) (*Local, error) {
	if len(master) != envelope.KeySize {
		return nil, core.Errorf(core.Invalid, "the local master key has %d bytes, want %d", len(master), envelope.KeySize)
	}
	if envelope.Equal(master, make([]byte, envelope.KeySize)) {
		return nil, core.Errorf(core.Invalid, "the local master key is all zero bytes")
	}
	key, err := newLockedKey(master)
	if err != nil {
		return nil, core.Wrap(core.Unavailable, err, "no memory for the local master key")
	}
	return &Local{id: localKeyID(master), master: key}, nil
}

// localKeyID names a master key without revealing it: 64 bits of a digest of a 256-bit random key.
func localKeyID(master []byte) string {
	h := sha256.New()
	h.Write([]byte(localIDLabel))
	h.Write(master)
	return localPrefix + hex.EncodeToString(h.Sum(nil)[:8])
}

// KeyID returns "local:" and 16 hex digits. It is the same for the same master key and reveals nothing of it.
func (l *Local) KeyID() string { return l.id }

// Locked reports whether the memory of the master key is locked against swapping. It is false after Close.
func (l *Local) Locked() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.master != nil && l.master.locked
}

// Generate returns a new data key bound to kmsContext. The caller wipes Plain. The error is core.Unavailable after
// Close.
func (l *Local) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	if err := ctx.Err(); err != nil {
		return vault.DataKey{}, err
	}
	dek, err := envelope.NewDEK()
	if err != nil {
		return vault.DataKey{}, err
	}
	wrapped, err := l.Wrap(ctx, dek, l.id, kmsContext)
	if err != nil {
		envelope.Wipe(dek)
		return vault.DataKey{}, err
	}
	return vault.DataKey{Plain: dek, WrappedKey: wrapped}, nil
}

// Wrap wraps a data key that exists already. to must be KeyID, or the error is core.Stale. The error is
// core.Unavailable after Close. The caller keeps dek and wipes it.
func (l *Local) Wrap(_ context.Context, dek []byte, to string, kmsContext map[string]string) (vault.WrappedKey, error) {
	if to != l.id {
		return vault.WrappedKey{}, core.Errorf(core.Stale, "the master key has been changed meanwhile")
	}
	var nonce [chacha20poly1305.NonceSizeX]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return vault.WrappedKey{}, core.Wrap(core.Internal, err, "draw a nonce")
	}
	wrapped, err := l.wrap(dek, nonce, kmsContext)
	if err != nil {
		return vault.WrappedKey{}, err
	}
	return vault.WrappedKey{KeyID: l.id, Wrapped: wrapped}, nil
}

// Current returns KeyID. Its errors are those of Check.
func (l *Local) Current(ctx context.Context) (string, error) { return l.id, l.Check(ctx) }

// wrap seals dek. The nonce is a parameter for the frozen vectors only: every other caller draws it at random.
func (l *Local) wrap(dek []byte, nonce [chacha20poly1305.NonceSizeX]byte, kmsContext map[string]string) ([]byte, error) {
	out := make([]byte, 0, localLen)
	out = append(out, localVersion)
	out = append(out, nonce[:]...)
	err := l.withAEAD(nonce[:], func(a aead) error {
		out = a.Seal(out, subNonce(nonce[:]), dek, contextAAD(localWrapLabel, kmsContext))
		return nil
	})
	return out, err
}

// Unwrap returns the data key, which the caller wipes. The error is core.Denied when another master key wrapped it.
// It is core.Corrupt when the wrapped key is not what Generate returned, when kmsContext is not the one that it was
// made for, and when KeyID names another key than the one that wrapped it. It is core.Unavailable after Close.
func (l *Local) Unwrap(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if key.KeyID != l.id {
		return nil, l.judgeForeign(key, kmsContext)
	}
	return l.open(key.Wrapped, kmsContext)
}

// judgeForeign distinguishes a data key of another master key from one of ours whose row names another key. An edited
// row is damage, and not a matter of rights. A row that is damaged in more than its key id cannot be distinguished.
func (l *Local) judgeForeign(key vault.WrappedKey, kmsContext map[string]string) error {
	dek, err := l.open(key.Wrapped, kmsContext)
	envelope.Wipe(dek)
	switch core.CodeOf(err) {
	case "":
		return core.Errorf(core.Corrupt, "the row names another master key (%s) than the one that wrapped its data key", showKeyID(key.KeyID))
	case core.Corrupt:
		return core.Errorf(core.Denied, "the data key was wrapped under another master key (%s)", showKeyID(key.KeyID))
	}
	return err
}

// open opens what wrap has sealed.
func (l *Local) open(wrapped []byte, kmsContext map[string]string) ([]byte, error) {
	if len(wrapped) != localLen || wrapped[0] != localVersion {
		return nil, core.Errorf(core.Corrupt, "the wrapped data key is damaged")
	}
	nonce, sealed := wrapped[1:1+chacha20poly1305.NonceSizeX], wrapped[1+chacha20poly1305.NonceSizeX:]
	dek := make([]byte, 0, envelope.KeySize)
	err := l.withAEAD(nonce, func(a aead) (err error) {
		dek, err = a.Open(dek, subNonce(nonce), sealed, contextAAD(localWrapLabel, kmsContext))
		if err != nil {
			return core.Errorf(core.Corrupt, "the wrapped data key is damaged or belongs to another secret or version")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return dek, nil
}

// Check returns nil until Close, and core.Unavailable after it. It makes no call of another service.
func (l *Local) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.master == nil {
		return errClosed()
	}
	return nil
}

// Close waits for the calls that use the master key, and then wipes it. It may be called twice.
func (l *Local) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.master == nil {
		return nil
	}
	err := l.master.free()
	l.master = nil
	return err
}

func errClosed() error {
	return core.Errorf(core.Unavailable, "the local master key has been wiped: shutting down")
}

// aead is the part of cipher.AEAD used here.
type aead interface {
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
}

// withAEAD lends f the cipher for one nonce. XChaCha20-Poly1305 is ChaCha20-Poly1305 under a key that HChaCha20 makes
// of the key and the first 16 bytes of the nonce. The two steps are separate, because the ready-made cipher keeps a
// copy of its key in memory that no code can wipe. Here the copy is of the derived key, which serves one data key
// only. The master key stays in its one locked memory.
func (l *Local) withAEAD(nonce []byte, f func(aead) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.master == nil {
		return errClosed()
	}
	derived, err := chacha20.HChaCha20(l.master.key(), nonce[:16])
	if err != nil {
		return core.Wrap(core.Internal, err, "derive a wrapping key")
	}
	defer envelope.Wipe(derived)
	a, err := chacha20poly1305.New(derived)
	if err != nil {
		return core.Wrap(core.Internal, err, "make the wrapping cipher")
	}
	return f(a)
}

// subNonce is the 12-byte nonce of the inner cipher: four zero bytes, then the rest of the long nonce.
func subNonce(nonce []byte) []byte {
	n := make([]byte, chacha20poly1305.NonceSize)
	copy(n[4:], nonce[16:])
	return n
}

// showKeyID keeps what a row edited by hand may hold out of messages: only ids of the local form are repeated.
func showKeyID(id string) string {
	digits := len(localPrefix) + 16
	if len(id) != digits || id[:len(localPrefix)] != localPrefix {
		return "not a local one"
	}
	for _, c := range id[len(localPrefix):] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "not a local one"
		}
	}
	return id
}
