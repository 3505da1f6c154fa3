package client_test

import (
	"os"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run()) }
