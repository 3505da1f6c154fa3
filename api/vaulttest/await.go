package vaulttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// awaitLimit bounds what should happen soon.
const awaitLimit = 30 * time.Second

// awaitTick is between two looks.
const awaitTick = 10 * time.Millisecond

// serving is the servers of a database.
type serving struct {
	mu  sync.Mutex
	all []*Server
}

func (g *serving) add(s *Server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, s)
}

// AwaitAudit returns when every audit record that the database's servers of NewServer have made so far is in
// vault.audit_log: reads and refusals get there a moment after their answer. Records of a change are there with it.
func (d *DB) AwaitAudit(t testing.TB) {
	t.Helper()
	d.serving.mu.Lock()
	defer d.serving.mu.Unlock()
	for _, s := range d.serving.all {
		s.AwaitAudit(t)
	}
}

// AwaitAudit is DB.AwaitAudit for this server alone.
func (s *Server) AwaitAudit(t testing.TB) {
	t.Helper()
	made := s.audit().Recorded
	eventually(t, "the audit records arrive at the primary", func() bool {
		now := s.audit()
		return now.Recorded-min(now.Recorded, now.Pending) >= made
	})
}

// Await returns when a query, of one boolean, is true; what says what is waited for.
func (d *DB) Await(t testing.TB, what, sql string, args ...any) {
	t.Helper()
	conn := connect(t, d.SuperuserDSN)
	defer conn.Close(context.Background())
	eventually(t, what, func() bool {
		rows, err := conn.Query(context.Background(), sql, args...)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		yes, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return yes
	})
}

func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	limit := time.NewTimer(awaitLimit)
	defer limit.Stop()
	tick := time.NewTicker(awaitTick)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited %s in vain: %s", awaitLimit, what)
		}
	}
}
