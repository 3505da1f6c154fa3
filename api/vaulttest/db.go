package vaulttest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// DB is a database with what all the servers in front of it have in common.
type DB struct {
	*pgtest.DB

	masterKey string   // base64; the same for every server of this database
	serving   *serving // shared by the database's nodes
}

// NewDB makes a fresh database in the package's shared cluster and drops it with the test.
func NewDB(t testing.TB) *DB {
	t.Helper()
	return Of(pgtest.NewDB(t))
}

// NewDBIn makes a fresh database in c and drops it with the test.
func NewDBIn(t testing.TB, c *Cluster) *DB {
	t.Helper()
	return Of(c.NewDB(t))
}

// Of makes a database ready for servers. The test itself has given it the extension.
func Of(d *pgtest.DB) *DB {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &DB{DB: d, serving: &serving{}, masterKey: base64.StdEncoding.EncodeToString(key)}
}

// On returns d as another node of its cluster has it.
func (d *DB) On(c *Cluster) *DB {
	n := *d
	n.DB = d.DB.On(c)
	return &n
}

// hosts are the socket directories of all nodes, the database's own first.
func (d *DB) hosts() string {
	dirs := []string{d.Cluster.Dir()}
	for _, n := range d.Cluster.Nodes() {
		if n != d.Cluster {
			dirs = append(dirs, n.Dir())
		}
	}
	return strings.Join(dirs, ",")
}

func (d *DB) nodeName() string {
	return fmt.Sprintf("node%d", slices.Index(d.Cluster.Nodes(), d.Cluster)+1)
}

// mustUseAgent has the backends of d find the key agent at socket.
func (d *DB) mustUseAgent(t testing.TB, socket string) {
	t.Helper()
	if len(d.Cluster.Nodes()) == 1 {
		d.MustExec(t, fmt.Sprintf("ALTER DATABASE %s SET hyperion_vault.agent_socket = '%s'", d.Name, socket))
		return
	}
	d.Cluster.MustSet(t, "hyperion_vault.agent_socket = '"+socket+"'")
	d.Cluster.MustBecome(t, "SELECT current_setting('hyperion_vault.agent_socket', true) IS NOT DISTINCT FROM '"+socket+"'")
}
