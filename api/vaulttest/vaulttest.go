// Package vaulttest gives tests a real API in front of a PostgreSQL of pgtest.
//
// A package that uses it runs its tests through Main, which stops what they started:
//
//	func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, vaulttest.Options{}).Run()) }
//
// NewDB then gives each test a database of its own in the package's one cluster, and NewServer an API for it.
package vaulttest

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// These are what pgtest has, for tests that need both.
type (
	Cluster = pgtest.Cluster
	Options = pgtest.Options
)

// Superuser and ServiceRole are the roles every cluster has.
const (
	Superuser   = pgtest.Superuser
	ServiceRole = pgtest.ServiceRole
)

// Main prepares the package's shared cluster, which the first NewDB starts.
func Main(m *testing.M, o Options) pgtest.Runner { return pgtest.Main(m, o) }

// NewCluster starts a PostgreSQL of the test's own and stops it with the test.
func NewCluster(t testing.TB, o Options) *Cluster {
	t.Helper()
	return pgtest.NewCluster(t, o)
}

// Shared returns the package's cluster, starting it at the first call.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	return pgtest.Shared(t)
}
