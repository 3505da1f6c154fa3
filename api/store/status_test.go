package store

import (
	"context"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// TestStatusIsComputedOnce: what is left out of a status for a caller does not have it computed once more.
func TestStatusIsComputedOnce(t *testing.T) {
	s := newServer(t)
	by := s.token(s.open(), "ops", vault.AdminRole, nil)
	c := s.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	tx, err := c.Begin(t.Context())
	must(t, err)
	must(t, only(tx.Exec(t.Context(), "SET track_functions = 'all'")))
	must(t, only(tx.Exec(t.Context(), decidedStatus, by.Credential.Fingerprint[:], by.Credential.Addr, nil)))
	var calls int
	must(t, tx.QueryRow(t.Context(), "SELECT calls FROM pg_stat_xact_user_functions WHERE schemaname = 'vault' AND funcname = 'status'").Scan(&calls))
	if calls != 1 {
		t.Errorf("the status was computed %d times", calls)
	}
}
