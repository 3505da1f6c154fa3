package core_test

import (
	"errors"
	"fmt"

	"github.com/hyperiondb/hyperion-vault/core"
)

func ExampleParseName() {
	name, err := core.ParseName("app/db/password")
	fmt.Println(name, err)
	_, err = core.ParseName("/app")
	fmt.Println(core.CodeOf(err))
	// Output:
	// app/db/password <nil>
	// invalid
}

// A cause stays available to errors.Is, and is not part of what a client is told.
func ExampleCodeOf() {
	err := fmt.Errorf("reading: %w", core.Errorf(core.NotFound, "there is no such secret"))
	fmt.Println(core.CodeOf(err), "-", core.MessageOf(err))
	fmt.Println(core.CodeOf(errors.New("an error without a code")))
	// Output:
	// not_found - there is no such secret
	// internal
}
