package vaulttest

import (
	"sync"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

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
	pgtest.Eventually(t, "the records of leased reads are taken", func() bool { return s.audit().LeasedBytes == 0 })
	made := s.audit().Recorded
	pgtest.Eventually(t, "the audit records arrive at the primary", func() bool {
		now := s.audit()
		return now.Recorded-min(now.Recorded, now.Pending) >= made
	})
}
