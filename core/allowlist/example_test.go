package allowlist_test

import (
	"fmt"
	"net/netip"

	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func ExampleParse() {
	list, err := allowlist.Parse("10.0.0.0/8, ::1")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, client := range []string{"10.1.2.3", "::1", "192.0.2.1"} {
		fmt.Println(client, list.Allows(netip.MustParseAddr(client)))
	}
	// Output:
	// 10.1.2.3 true
	// ::1 true
	// 192.0.2.1 false
}
