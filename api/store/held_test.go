package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestHeldRowsOfAsManySecretsAsConnections: a session that holds the rows of as many secrets as the writer has connections
// delays a change of another secret by one or two waits for a lock: it goes through before its time is over.
func TestHeldRowsOfAsManySecretsAsConnections(t *testing.T) {
	s := newServer(t)
	d := s.openWith(func(c *Config) { c.WriteTimeout = 8 * time.Second }, s.dir)
	most := int(d.writer.Stat().MaxConns())
	var held []vault.NewSecret
	for i := range most {
		held = append(held, newSecret(fmt.Sprint("held/", i)))
		must(t, only(d.CreateSecret(t.Context(), held[i], origin("x"))))
	}
	blocker := s.connect("app")
	defer func() { _ = blocker.Close(context.Background()) }()
	tx, err := blocker.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM vault.secrets FOR UPDATE")
	must(t, err)
	waiting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range 4 * most { // as clients that do not give up
		all.Go(func() {
			n := held[i%most]
			for waiting.Err() == nil {
				_, err := d.AppendVersion(waiting, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 9, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("y"))
				if core.CodeOf(err) != core.Unavailable {
					return
				}
			}
		})
	}
	s.until(fmt.Sprintf("SELECT count(*) = %d FROM pg_stat_activity WHERE wait_event_type = 'Lock'", most))
	var slowest time.Duration
	for i := range 3 {
		startedAt := time.Now()
		ctx, done := context.WithTimeout(t.Context(), d.bound)
		err := only(d.CreateSecret(ctx, newSecret(fmt.Sprint("free/", i)), origin("z")))
		done()
		took := time.Since(startedAt)
		if slowest = max(slowest, took); err != nil {
			t.Errorf("a change of another secret: %s after %s", core.MessageOf(err), took)
		}
	}
	t.Logf("%d connections; a change of another secret took %s at most", most, slowest.Round(time.Millisecond))
	cancel()
	must(t, tx.Rollback(context.Background()))
	all.Wait()
}
