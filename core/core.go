// Package core holds the rules every part of the vault shares: what a name, a
// pattern, a kind, a content type and a secret's id may look like, and the codes
// an error can carry. REST, SQL and the key agent all ask these functions, so
// that none of them accepts what another refuses.
//
// The package and the folders below it compute and nothing else: no file, no
// network, no environment, no clock of their own, no goroutine. They are safe
// to call inside a PostgreSQL backend. All functions may be called
// concurrently; all types are values that are safe to copy.
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

// Quote returns a short, printable form of s for an error text: at most 40
// bytes of it, in double quotes, everything but printable ASCII escaped, and
// "..." after the quotes when something was left out. Use it for names and
// settings; a value, token or key must never reach it.
func Quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
