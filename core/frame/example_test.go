package frame_test

import (
	"bytes"
	"fmt"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// A backend asks the key agent for the data key of a new version.
func ExampleAppendRequest() {
	wire, err := frame.AppendRequest(nil, &frame.Request{
		Op: frame.OpGenerate, ID: core.SecretID{1}, Version: 1,
		Origin: frame.Origin{Database: "app", Role: "alice", SessionRole: "alice"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := frame.ReadBody(bytes.NewReader(wire), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := frame.ParseRequest(body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Origin.Role, got.Op == frame.OpGenerate, got.Version)
	// Output: alice true 1
}
