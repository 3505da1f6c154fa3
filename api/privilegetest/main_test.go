// Package privilegetest sends every route of the API as every kind of caller to the real API in front of PostgreSQL, and
// compares what each is answered with a table.
package privilegetest

import (
	"os"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run()) }
