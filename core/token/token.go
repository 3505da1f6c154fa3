// Package token makes, reads and compares the tokens of REST callers.
//
// A token is 256 random bits, so its plain SHA-256 is a sufficient fingerprint: a
// search for the token that has it is out of reach. Only fingerprints are stored.
// A Token prints as REDACTED through fmt, log/slog, encoding/json and
// encoding.TextMarshaler. Only Reveal returns its text. The package imports
// log/slog for the LogValuer interface alone, and logs nothing.
//
// A Token's memory is not wiped. Its text arrives as a string (an HTTP header, a
// command's output), and Go cannot wipe a string.
package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// Prefix starts every token, so that scanners for leaked secrets find them.
	Prefix = "hvt_"
	// Size is the number of random bytes in a token.
	Size = 32
	// Redacted is what a Token prints as.
	Redacted = "REDACTED"
)

var encoding = base64.RawURLEncoding.Strict()

// Token is a token of a REST caller, or a secret id of an AppRole. The zero Token
// is none: it reveals the empty string and matches nothing. Tokens cannot be
// compared with ==, whose time would reveal where two texts differ. Use Match.
// Safe for concurrent use.
type Token struct {
	_ [0]func()
	// A pointer, so that fmt prints an address even where it cannot call Format:
	// in unexported fields of other structs.
	text *string
}

// New returns a token of Size bytes from rand, which must be a cryptographic
// source. It fails only when rand does, with code Internal.
func New(rand io.Reader) (Token, error) { return newText(Prefix, rand) }

// SecretIDPrefix starts every secret id of an AppRole.
const SecretIDPrefix = "hvi_"

// NewSecretID is New for a secret id of an AppRole. A secret id is not a token, and Parse refuses it.
func NewSecretID(rand io.Reader) (Token, error) { return newText(SecretIDPrefix, rand) }

// WrappingPrefix starts every wrapping token.
const WrappingPrefix = "hvw_"

// NewWrapping is New for a wrapping token, which takes one wrapped answer once. It is not a token otherwise, and Parse
// refuses it.
func NewWrapping(rand io.Reader) (Token, error) { return newText(WrappingPrefix, rand) }

// ParseWrapping is Parse for a wrapping token, and refuses every other kind.
func ParseWrapping(s string) (Token, error) { return parseText(WrappingPrefix, s) }

func newText(prefix string, rand io.Reader) (Token, error) {
	raw := make([]byte, Size)
	defer envelope.Wipe(raw)
	if _, err := io.ReadFull(rand, raw); err != nil {
		return Token{}, core.Wrap(core.Internal, err, "read random bytes for a token")
	}
	text := prefix + encoding.EncodeToString(raw)
	return Token{text: &text}, nil
}

// Parse returns the token that s spells. Each token has one spelling: no padding,
// no space, and no unused bits set in the last character. Anything else is an
// Unauthenticated error with a constant text that contains nothing of s.
func Parse(s string) (Token, error) { return parseText(Prefix, s) }

func parseText(prefix, s string) (Token, error) {
	if len(s) != len(prefix)+encoding.EncodedLen(Size) || s[:len(prefix)] != prefix {
		return Token{}, malformed()
	}
	raw, err := encoding.DecodeString(s[len(prefix):])
	defer envelope.Wipe(raw)
	// The decoder skips line breaks, so the length of what it found counts too.
	if err != nil || len(raw) != Size {
		return Token{}, malformed()
	}
	return Token{text: &s}, nil
}

func malformed() error {
	return core.Errorf(core.Unauthenticated, "token is malformed")
}

// Fingerprint returns the SHA-256 of the token's text, which is what is stored.
func (t Token) Fingerprint() [32]byte { return sha256.Sum256([]byte(t.Reveal())) }

// Match reports whether presented is the token with fingerprint fp. Its time does
// not depend on where they differ. The zero Token never matches.
func Match(fp [32]byte, presented Token) bool {
	got := presented.Fingerprint()
	return subtle.ConstantTimeCompare(fp[:], got[:]) == 1 && presented.text != nil
}

// Reveal returns the token's text. It is shown once, to the caller that asked for
// the token. It is empty for the zero Token.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// String returns Redacted.
func (t Token) String() string { return Redacted }

// Format writes Redacted, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue returns Redacted.
func (t Token) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON returns Redacted as a JSON string.
func (t Token) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// MarshalText returns Redacted.
func (t Token) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
