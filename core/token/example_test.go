package token_test

import (
	"crypto/rand"
	"fmt"

	"github.com/hyperiondb/hyperion-vault/core/token"
)

// Only the fingerprint of a token is stored. A token never prints itself.
func ExampleNew() {
	made, err := token.New(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	stored := made.Fingerprint()

	presented, err := token.Parse(made.Reveal())
	fmt.Println(token.Match(stored, presented), err)
	fmt.Println(made)
	// Output:
	// true <nil>
	// REDACTED
}
