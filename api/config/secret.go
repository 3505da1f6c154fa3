package config

import (
	"fmt"
	"log/slog"
)

// redacted stands where a secret is.
const redacted = "REDACTED"

// Secret is a value that prints as REDACTED by every road of fmt, log/slog and encoding/json; an empty one prints
// as nothing. Convert it explicitly ([]byte(s), string(s)) to use it.
type Secret []byte

// String returns REDACTED, or "" for an empty Secret.
func (s Secret) String() string {
	if len(s) == 0 {
		return ""
	}
	return redacted
}

// Format prints String for every verb: %x and %v of a byte slice would print the bytes.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue is what log/slog prints.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is what encoding/json and its like print.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Wipe overwrites the bytes of s with zeros; copies of the slice see it.
func (s Secret) Wipe() { clear(s) }
