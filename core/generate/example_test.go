package generate_test

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func ExamplePolicy_Generate() {
	policy := generate.Policy{Length: 24, Lower: true, Digits: true, Exclude: "0o1l"}
	value, err := policy.Generate(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(value), bytes.ContainsAny(value, "0o1l"), policy.Bits() >= generate.MinBits)
	// Output: 24 false true
}

// The other fields of a document stay as they are.
func ExamplePolicy_Replace() {
	policy := generate.Default()
	policy.JSONField = "password"
	value, err := policy.Replace([]byte(`{"user": "app", "password": "old"}`), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(bytes.Contains(value, []byte(`"user": "app"`)), bytes.Contains(value, []byte("old")))
	// Output: true false
}
