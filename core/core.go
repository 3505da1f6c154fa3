// Package core holds the rules that every part of the vault shares. They say what
// a name, a pattern, a kind, a content type and a secret's id look like, and which
// codes an error can carry. REST, SQL and the key agent all call these functions,
// so none of them accepts what another refuses.
//
// The package and the packages below it only compute. They use no file, network,
// environment, clock or goroutine of their own, so they are safe to call inside a
// PostgreSQL backend. All functions may be called concurrently. All types are
// values that are safe to copy.
package core

import "strconv"

const (
	// MaxNameLen is the longest secret name, in bytes.
	MaxNameLen = 255
	// MaxContentTypeLen is the longest content type, in bytes, before and after
	// it is made canonical.
	MaxContentTypeLen = 255
	// DefaultMaxValueLen is the longest value, in bytes, unless a setting says
	// otherwise.
	DefaultMaxValueLen = 64 << 10
	// MaxValueLen is the longest value, in bytes, that any setting can allow.
	MaxValueLen = 1 << 20
)

// maxQuoted is how many bytes of an input an error text repeats.
const maxQuoted = 40

// Quote returns a short, printable form of s for an error text. It quotes at most
// 40 bytes of s in double quotes and escapes everything but printable ASCII. If
// something was left out, "..." follows the quotes. Use it for names and settings
// only: a value, token or key must never be passed to it.
func Quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
