package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// NewStandby starts a physical standby of c, which streams from it, and stops it with the test. settings are lines for
// its postgresql.conf. Make the standbys before the servers: from then on each node has an agent socket of its own,
// where a lone cluster has one for each database.
func (c *Cluster) NewStandby(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hvt")
	if err != nil {
		t.Fatal(err)
	}
	s := &Cluster{i: c.i, dir: dir, follows: c, nodes: c.nodes}
	slot := fmt.Sprintf("standby_%d", len(c.nodes.all))
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if c.run != nil { // else it would keep WAL for nobody
			c.mustExec(t, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active AND slot_name = '"+slot+"'")
		}
	})
	if err := s.follow(slot, settings); err != nil {
		t.Fatal(err)
	}
	c.nodes.all = append(c.nodes.all, s)
	return s
}

func (c *Cluster) follow(slot string, settings []string) error {
	if err := errors.Join(os.Chmod(c.dir, 0o755), os.Chown(c.dir, int(c.i.uid), int(c.i.gid))); err != nil {
		return err
	}
	copied := c.i.command("pg_basebackup", "-D", c.Data(), "-d", c.follows.DSN("postgres", Superuser), "-R", "-X", "stream",
		"-C", "-S", slot, "-c", "fast", "--no-sync")
	if out, err := copied.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	lines := append([]string{"unix_socket_directories = '" + c.dir + "'", "cluster_name = '" + slot + "'"}, settings...)
	if err := c.configure(lines...); err != nil {
		return err
	}
	return c.start()
}

// configure appends lines to postgresql.conf.
func (c *Cluster) configure(lines ...string) error {
	return appendFile(filepath.Join(c.Data(), "postgresql.conf"), strings.Join(lines, "\n")+"\n")
}

// MustCatchUp returns when a standby has replayed everything that the node it follows has written by now.
func (c *Cluster) MustCatchUp(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ahead := connect(t, c.follows.DSN("postgres", Superuser))
	defer ahead.Close(context.Background())
	var lsn string
	err := ahead.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text`).Scan(&lsn)
	if err != nil {
		t.Fatal(err)
	}
	c.mustBecome(t, "SELECT pg_last_wal_replay_lsn() >= '"+lsn+"'::pg_lsn")
}

// MustPromote makes a standby a primary and returns when it takes writes.
func (c *Cluster) MustPromote(t testing.TB) {
	t.Helper()
	c.mustBecome(t, "SELECT pg_promote()")
	c.mustBecome(t, "SELECT NOT pg_is_in_recovery()")
}

// mustBecome asks, each time on a connection of its own, until the answer is true.
func (c *Cluster) mustBecome(t testing.TB, question string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var yes bool
		conn, err := pgx.Connect(ctx, c.DSN("postgres", Superuser))
		if err == nil {
			err = errors.Join(conn.QueryRow(ctx, question).Scan(&yes), conn.Close(ctx))
		}
		if err != nil {
			t.Fatalf("%s: %v", question, err)
		}
		if yes {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", patience, question)
		case <-tick.C:
		}
	}
}

// On returns d as another node of its cluster has it.
func (d *DB) On(c *Cluster) *DB {
	n := *d
	n.Cluster = c
	n.SuperuserDSN, n.ServiceDSN = c.DSN(d.Name, Superuser), c.DSN(d.Name, ServiceRole)
	return &n
}

// hosts are the socket folders of all nodes, c's own first.
func (c *Cluster) hosts() string {
	dirs := []string{c.dir}
	for _, n := range c.nodes.all {
		if n != c {
			dirs = append(dirs, n.dir)
		}
	}
	return strings.Join(dirs, ",")
}

func (c *Cluster) nodeName() string {
	return fmt.Sprintf("node%d", slices.Index(c.nodes.all, c)+1)
}

// mustUseAgent has the backends of d find the key agent at socket.
func (d *DB) mustUseAgent(t testing.TB, socket string) {
	t.Helper()
	if len(d.Cluster.nodes.all) == 1 {
		d.MustExec(t, fmt.Sprintf("ALTER DATABASE %s SET hyperion_vault.agent_socket = '%s'", d.Name, socket))
		return
	}
	if err := d.Cluster.configure("hyperion_vault.agent_socket = '" + socket + "'"); err != nil {
		t.Fatal(err)
	}
	d.Cluster.mustExec(t, "SELECT pg_reload_conf()")
	d.Cluster.mustBecome(t, "SELECT current_setting('hyperion_vault.agent_socket', true) IS NOT DISTINCT FROM '"+socket+"'")
}
