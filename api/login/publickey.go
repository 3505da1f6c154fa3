package login

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	minRSABits = 2048
	maxRSABits = 8192
	maxKeys    = 64 // of one issuer
)

// parseStaticKeys reads public keys in PEM. A private key is refused by name, so that no administrator stores one.
func parseStaticKeys(texts []string) ([]jose.JSONWebKey, error) {
	if len(texts) > maxKeys {
		return nil, core.Errorf(core.Invalid, "static_keys has %d elements, the limit is %d", len(texts), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, text := range texts {
		block, rest := pem.Decode([]byte(text))
		if block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 && !isSpace(rest) {
			return nil, core.Errorf(core.Invalid, "static_keys needs public keys in PEM, one in each element: -----BEGIN PUBLIC KEY-----")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil || !acceptable(key) {
			return nil, errKeyKind()
		}
		keys = append(keys, jose.JSONWebKey{Key: key})
	}
	return keys, nil
}

func errKeyKind() error {
	return core.Errorf(core.Invalid, "a key of an issuer must be RSA of %d to %d bits, ECDSA on P-256, P-384 or P-521, or Ed25519",
		minRSABits, maxRSABits)
}

func isSpace(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != ' ' && c != '\n' && c != '\r' && c != '\t' })
}

// acceptable reports whether a public key is of a kind and strength that may sign tokens.
func acceptable(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits && k.E >= 3 && k.E%2 == 1
	case *ecdsa.PublicKey:
		return slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve)
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	}
	return false
}

// parseKeySet reads a JWK set. A key that is of no use here, such as one for encryption, of an unknown kind, or one with
// private parts, is left out and hinders no other. A set without any usable key is an error.
func parseKeySet(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, core.Errorf(core.Unavailable, "the issuer's key set is not a JWK set")
	}
	if len(set.Keys) > maxKeys {
		return nil, core.Errorf(core.Unavailable, "the issuer's key set has %d keys, the limit is %d", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil || !k.Valid() || k.Use == "enc" || !acceptable(k.Key) {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, core.Errorf(core.Unavailable, "the issuer's key set has no key that is fit for signatures")
	}
	return keys, nil
}
