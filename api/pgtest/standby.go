package pgtest

import (
	"context"
	"errors"
	"fmt"
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
	dir, err := c.i.mkdir()
	if err != nil {
		t.Fatal(err)
	}
	s := &Cluster{i: c.i, dir: dir, follows: c, nodes: c.nodes}
	slot := fmt.Sprintf("standby_%d", len(c.nodes.all))
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if c.run != nil { // else it would keep WAL for no standby
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
	ctx, cancel := context.WithTimeout(context.Background(), turnLimit)
	defer cancel()
	ahead := connect(t, c.follows.DSN("postgres", Superuser))
	defer ahead.Close(context.Background())
	var lsn string
	err := ahead.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text`).Scan(&lsn)
	if err != nil {
		t.Fatal(err)
	}
	c.MustBecome(t, "SELECT pg_last_wal_replay_lsn() >= '"+lsn+"'::pg_lsn")
}

// MustPromote makes a standby a primary and returns when it takes writes.
func (c *Cluster) MustPromote(t testing.TB) {
	t.Helper()
	c.MustBecome(t, "SELECT pg_promote()")
	c.MustBecome(t, "SELECT NOT pg_is_in_recovery()")
}

// MustBecome returns when the answer to a question is true. Each try has a connection of its own.
func (c *Cluster) MustBecome(t testing.TB, question string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), turnLimit)
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
			t.Fatalf("not within %s: %s", turnLimit, question)
		case <-tick.C:
		}
	}
}

// Nodes are the primary and its standbys, in the order in which they were made.
func (c *Cluster) Nodes() []*Cluster { return slices.Clone(c.nodes.all) }

// MustSet appends lines to postgresql.conf, and has the server read it.
func (c *Cluster) MustSet(t testing.TB, lines ...string) {
	t.Helper()
	if err := c.configure(lines...); err != nil {
		t.Fatal(err)
	}
	c.mustExec(t, "SELECT pg_reload_conf()")
}
