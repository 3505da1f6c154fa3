package core

import (
	"encoding/hex"
	"io"
)

// SecretID identifies a secret for its whole life, whatever its name. It is the 16
// bytes of a UUID. The zero SecretID means "none", and no value is sealed under it.
type SecretID [16]byte

const uuidLen = 36

// NewSecretID returns a random (version 4) id made of 16 bytes from rand. It fails
// only when rand does, with code Internal, and then returns the zero SecretID.
func NewSecretID(rand io.Reader) (SecretID, error) {
	var id SecretID
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return SecretID{}, Wrap(Internal, err, "read random bytes for a secret id")
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// ParseSecretID returns the id that s spells. It accepts only the canonical text,
// in lower case with dashes, so that one id has one spelling. The error is Invalid.
func ParseSecretID(s string) (SecretID, error) {
	var id SecretID
	if len(s) == uuidLen {
		digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
		if _, err := hex.Decode(id[:], []byte(digits)); err == nil && id.String() == s {
			return id, nil
		}
	}
	return SecretID{}, Errorf(Invalid, "secret id %s is not a UUID in lower case with dashes", Quote(s))
}

// String returns the canonical UUID text, lower case with dashes.
func (id SecretID) String() string {
	h := hex.EncodeToString(id[:])
	return h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32]
}

// IsZero reports whether id is the zero SecretID.
func (id SecretID) IsZero() bool { return id == SecretID{} }

// MarshalText returns String, so that JSON and logs show the UUID.
func (id SecretID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseSecretID; on error *id is unchanged.
func (id *SecretID) UnmarshalText(text []byte) error {
	parsed, err := ParseSecretID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
