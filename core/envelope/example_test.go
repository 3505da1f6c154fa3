package envelope_test

import (
	"fmt"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// A sealed value opens only as the secret and the version that it was sealed for.
func ExampleSeal() {
	dek, err := envelope.NewDEK()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer envelope.Wipe(dek)
	binding := envelope.Binding{Name: "app/db/password", ID: core.SecretID{1}, Version: 1, ContentType: core.Text}
	sealed, err := envelope.Seal(dek, binding, []byte("correct horse"))
	if err != nil {
		fmt.Println(err)
		return
	}

	value, err := envelope.Open(dek, binding, sealed)
	fmt.Printf("%s %v\n", value, err)
	envelope.Wipe(value)

	binding.Version = 2
	_, err = envelope.Open(dek, binding, sealed)
	fmt.Println(core.CodeOf(err))
	// Output:
	// correct horse <nil>
	// corrupt
}
