// Package scram makes and checks the verifiers that PostgreSQL stores of SCRAM-SHA-256 passwords, so that a new
// password of a role can be set where PostgreSQL is not shown the password itself.
//
// A verifier does not log in, but a password can be guessed at with one offline. Treat it as a secret.
package scram

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/unicode/norm"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MaxPasswordLen is the longest password of a role, in bytes.
const MaxPasswordLen = 1024

// DefaultIterations is what servers without the setting scram_iterations use.
const DefaultIterations = 4096

// MaxIterations bounds what a caller may have computed: about a second.
const MaxIterations = 5_000_000

const (
	scheme  = "SCRAM-SHA-256"
	saltLen = 16
)

// Verifier returns the verifier of a password, in the form of pg_authid.rolpassword, with a salt from random. The caller
// keeps the password, and treats the result as a secret. The error is Invalid for a password that no client can send.
func Verifier(password []byte, iterations int, random io.Reader) (string, error) {
	if err := CheckPassword(password); err != nil {
		return "", err
	}
	if iterations < 1 || iterations > MaxIterations {
		return "", core.Errorf(core.Invalid, "scram_iterations must be between 1 and %d", MaxIterations)
	}
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("generate a salt: %w", err)
	}
	stored, server := keys(password, salt, iterations)
	return fmt.Sprintf("%s$%d:%s$%s:%s", scheme, iterations, encode(salt), encode(stored), encode(server)), nil
}

// CheckPassword returns an Invalid error for what cannot be the password of a role.
func CheckPassword(password []byte) error {
	if len(password) == 0 || len(password) > MaxPasswordLen {
		return core.Errorf(core.Invalid, "the password of a role must be between 1 and %d bytes", MaxPasswordLen)
	}
	if bytes.IndexByte(password, 0) >= 0 {
		return core.Errorf(core.Invalid, "the password of a role must not have a zero byte")
	}
	return nil
}

// Matches reports whether verifier is one of password. It is false for a verifier of another scheme.
func Matches(verifier string, password []byte) bool {
	iterations, salt, want, ok := parse(verifier)
	if !ok || CheckPassword(password) != nil {
		return false
	}
	_, server := keys(password, salt, iterations)
	return subtle.ConstantTimeCompare(server, want) == 1
}

// parse takes a verifier apart.
func parse(verifier string) (iterations int, salt, server []byte, ok bool) {
	rest, ok := strings.CutPrefix(verifier, scheme+"$")
	head, tail, ok2 := strings.Cut(rest, "$")
	count, salt64, ok3 := strings.Cut(head, ":")
	_, server64, ok4 := strings.Cut(tail, ":")
	if !ok || !ok2 || !ok3 || !ok4 {
		return 0, nil, nil, false
	}
	iterations, err := strconv.Atoi(count)
	salt, err2 := base64.StdEncoding.DecodeString(salt64)
	server, err3 := base64.StdEncoding.DecodeString(server64)
	ok = err == nil && err2 == nil && err3 == nil && iterations >= 1 && iterations <= MaxIterations && len(server) == sha256.Size
	return iterations, salt, server, ok
}

// keys returns the StoredKey and the ServerKey of RFC 5802.
func keys(password, salt []byte, iterations int) (stored, server []byte) {
	prepared := prepare(password)
	defer clear(prepared)
	salted := hi(prepared, salt, iterations)
	defer clear(salted)
	client := mac(salted, "Client Key")
	defer clear(client)
	sum := sha256.Sum256(client)
	return sum[:], mac(salted, "Server Key")
}

// hi is the function Hi of RFC 5802: PBKDF2 of one block. That of crypto/pbkdf2 takes a string, which cannot be wiped.
func hi(password, salt []byte, iterations int) []byte {
	h := hmac.New(sha256.New, password)
	h.Write(salt)
	h.Write([]byte{0, 0, 0, 1})
	u := h.Sum(nil)
	result := bytes.Clone(u)
	for range iterations - 1 {
		h.Reset()
		h.Write(u)
		u = h.Sum(u[:0])
		subtle.XORBytes(result, result, u)
	}
	clear(u)
	return result
}

// serverPrep is SASLprep as PostgreSQL and libpq do it. They map spaces before what is mapped to nothing, and look for what
// is prohibited before they normalize rather than after it. U+1806 is mapped to nothing, too, which stringprep has forgotten.
var serverPrep = stringprep.Profile{
	Mappings:  []stringprep.Mapping{stringprep.SASLprep.Mappings[1], stringprep.SASLprep.Mappings[0], {0x1806: nil}},
	Prohibits: stringprep.SASLprep.Prohibits,
	CheckBiDi: true,
}

// prepare returns the password after SASLprep (RFC 4013). As in PostgreSQL, a password with prohibited characters, one that is
// not UTF-8 and one that nothing is left of is taken as it is, and so is ASCII. The result is the caller's to wipe.
func prepare(password []byte) []byte {
	beyond := bytes.IndexFunc(password, func(r rune) bool { return r >= utf8.RuneSelf })
	if beyond < 0 || !utf8.Valid(password) {
		return bytes.Clone(password)
	}
	mapped, err := serverPrep.Prepare(string(password))
	if err != nil || mapped == "" {
		return bytes.Clone(password)
	}
	return norm.NFKC.Bytes([]byte(mapped))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
