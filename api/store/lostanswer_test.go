package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestLostAnswers(t *testing.T) {
	s := newServer(t)
	cut := s.cutter()
	d := s.open(cut.host())
	ctx := t.Context()
	kept := newSecret("kept")
	_, err := d.CreateSecret(ctx, kept, origin("x"))
	must(t, err)
	for _, c := range []struct {
		name string
		mode cutMode
		n    int
	}{{"the request, once", beforeServer, 1}, {"the answer, once", afterServer, 1}, {"both, three times", beforeServer, 3}} {
		t.Run(c.name, func(t *testing.T) {
			id := strings.ReplaceAll(c.name, " ", "-")
			once := func(request string, f func(vault.Author) error) {
				t.Helper()
				request += id
				cut.lose([]byte(request), c.mode, c.n)
				if err := f(origin(request)); err != nil {
					t.Errorf("%s: %v", request, err)
				}
				if got := s.audited(request); got != 1 {
					t.Errorf("%s took effect %d times", request, got)
				}
			}
			n := newSecret("lost/" + strings.Map(letters, c.name))
			once("create-", func(o vault.Author) error {
				made, err := d.CreateSecret(ctx, n, o)
				if err == nil && made.CurrentVersion != 1 {
					return errors.New("not the version made")
				}
				return err
			})
			once("append-", func(o vault.Author) error {
				made, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, o)
				if err == nil && made.CurrentVersion != 2 {
					return errors.New("not the version made")
				}
				return err
			})
			once("configure-", func(o vault.Author) error {
				text := c.name
				got, err := d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 2, Settings: vault.Settings{Description: &text}}, o)
				if err == nil && (got.Description != text || got.CurrentVersion != 2 || got.Position.LSN == 0) {
					return fmt.Errorf("answered %+v", got)
				}
				return err
			})
			once("shorten-", func(o vault.Author) error {
				got, err := d.ExpireVersion(ctx, vault.Expiry{ID: n.ID, Name: n.Name, Version: 1, GraceSecs: 30}, o)
				if stored := value[time.Time](s, "SELECT expires_at FROM vault.secret_versions WHERE secret_id = $1 AND version = 1", n.ID); err == nil && !got.ExpiresAt.Equal(stored) {
					return fmt.Errorf("answered %+v, not %s", got, stored)
				}
				return err
			})
			once("expire-", func(o vault.Author) error {
				got, err := d.ExpireVersion(ctx, vault.Expiry{ID: n.ID, Name: n.Name, Version: 1}, o) // which deletes it
				if err == nil && (got.Version != 1 || got.KMSKeyID != "local" || got.Position.LSN == 0 || got.ExpiresAt.After(value[time.Time](s, "SELECT clock_timestamp()"))) {
					return fmt.Errorf("answered %+v", got)
				}
				return err
			})
			once("delete-", func(o vault.Author) error {
				return only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 2}, o))
			})
			tok := vault.NewToken{ID: vault.TokenID(n.ID), Name: strings.Map(letters, c.name), Fingerprint: [32]byte(append(bytes.Clone(n.ID[:]), n.ID[:]...))}
			once("token-", func(o vault.Author) error { return only(d.CreateToken(ctx, tok, vault.AdminRole, o)) })
			once("revoke-", func(o vault.Author) error {
				_, _, err := d.RevokeToken(ctx, tok.ID, o)
				return err
			})
		})
	}
	t.Run("ErrRefusedAfterALoss", func(t *testing.T) {
		cut.lose([]byte("again-1"), beforeServer, 1)
		_, err := d.CreateSecret(ctx, newSecret("kept"), origin("again-1"))
		code(t, err, core.Exists) // had it been made, deleted, and made again by another, the version there were another
		// Another caller has made the version that the lost request was for.
		next := vault.NewVersion{ID: kept.ID, Name: kept.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}
		_, err = d.AppendVersion(ctx, next, origin("other"))
		must(t, err)
		cut.lose([]byte("again-2"), beforeServer, 1)
		next.Sealed = sealedValue()
		_, err = d.AppendVersion(ctx, next, origin("again-2"))
		code(t, err, core.Stale)
	})
	t.Run("ErrDoneThenDeletedByAnother", func(t *testing.T) {
		n := newSecret("undone")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		cut.lose([]byte("vanishing"), beforeServer, 1)
		cut.meanwhile(func() {
			must(t, only(s.open().DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("x"))))
		})
		_, err = d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("vanishing"))
		outcomeUnknown(t, err)
	})
	t.Run("OKSettingsOfAnotherStay", func(t *testing.T) {
		n := newSecret("settings")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		configure := func(d *DB, text, id string) (vault.Secret, error) {
			return d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Settings: vault.Settings{Description: &text}}, origin(id))
		}
		other := s.open()
		cut.lose([]byte("settings-1"), afterServer, 1)
		cut.meanwhile(func() { must(t, only(configure(other, "theirs", "settings-2"))) })
		got, err := configure(d, "mine", "settings-1")
		must(t, err)
		if stored := value[string](s, "SELECT description FROM vault.secrets WHERE name = 'settings'"); stored != "theirs" || got.Description != "theirs" {
			t.Errorf("what was set and acknowledged last is undone: %q is stored, %q answered", stored, got.Description)
		}
		if a, b := s.audited("settings-1"), s.audited("settings-2"); a != 1 || b != 1 {
			t.Errorf("%d and %d records", a, b)
		}
	})
	t.Run("ErrConfiguredThenDeletedByAnother", func(t *testing.T) {
		n := newSecret("configured")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		cut.lose([]byte("configured-1"), afterServer, 1)
		cut.meanwhile(func() {
			must(t, only(s.open().DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("x"))))
		})
		text := "mine"
		_, err = d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Settings: vault.Settings{Description: &text}}, origin("configured-1"))
		outcomeUnknown(t, err)
	})
	t.Run("ErrAnotherDeletedIt", func(t *testing.T) {
		n := newSecret("gone")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		cut.lose([]byte("mine"), beforeServer, 1)
		cut.meanwhile(func() {
			must(t, only(s.open().DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("theirs"))))
		})
		err = only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("mine")))
		code(t, err, core.NotFound) // the other's deletion is not mistaken for this one
		if s.audited("mine") != 0 || s.audited("theirs") != 1 {
			t.Errorf("%d and %d records", s.audited("mine"), s.audited("theirs"))
		}
	})
	t.Run("OKTheSearchGoesOn", func(t *testing.T) {
		n := newSecret("searched")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		text := "searched"
		for request, change := range map[string]func(o vault.Author) error{
			"found-1": func(o vault.Author) error {
				return only(d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Settings: vault.Settings{Description: &text}}, o))
			},
			"found-2": func(o vault.Author) error { return only(d.CreateSecret(ctx, newSecret("searched/2"), o)) },
		} {
			// The answer is lost, and then the confirmation that it is durable, again and again.
			cut.lose([]byte(request), afterServer, 1)
			cut.meanwhile(func() { cut.lose([]byte("pg_logical_emit_message"), beforeServer, 4) })
			must(t, change(origin(request)))
			if s.audited(request) != 1 {
				t.Errorf("%s: %d records", request, s.audited(request))
			}
			if cut.left() != 0 {
				t.Errorf("%s: only some confirmations were lost", request)
			}
		}
	})
	t.Run("ErrARecordIsNotSentTwice", func(t *testing.T) {
		for mode, want := range map[cutMode]int{beforeServer: 0, afterServer: 1} {
			id := fmt.Sprintf("record-%d", mode)
			cut.lose([]byte(id), mode, 1)
			err := d.AppendAudit(ctx, []vault.Entry{vault.Entry{Origin: origin(id).Origin, Action: vault.ActionRead, Outcome: vault.OutcomeOK}})
			code(t, err, core.Unavailable)
			if !strings.Contains(core.MessageOf(err), "unknown") || s.audited(id) != want {
				t.Errorf("%v, %d records", err, s.audited(id))
			}
		}
	})
	t.Run("OKReads", func(t *testing.T) {
		for _, mode := range []cutMode{beforeServer, afterServer} {
			cut.lose([]byte("kept"), mode, 1)
			rows, err := sealedRows(d, ctx, []core.Name{"kept"}, 0, vault.Freshness{})
			if err != nil || len(rows) != 1 {
				t.Errorf("%v", err)
			}
			cut.lose([]byte("kept"), mode, 1)
			_, err = describedOnWriter(d, ctx, "kept")
			must(t, err)
		}
	})
}

func outcomeUnknown(t *testing.T, err error) {
	t.Helper()
	code(t, err, core.Unavailable)
	if !strings.Contains(core.MessageOf(err), "unknown") || !errors.Is(err, vault.ErrOutcomeUnknown) {
		t.Errorf("told %v", err) // the audit calls it failed otherwise
	}
}

func TestAWriteThatWaits(t *testing.T) {
	s := newServer(t)
	d := s.open()
	n := newSecret("locked")
	_, err := d.CreateSecret(t.Context(), n, origin("x"))
	must(t, err)
	blocker := s.connect("app")
	defer func() { _ = blocker.Close(context.Background()) }()
	lock := func() pgx.Tx {
		t.Helper()
		tx, err := blocker.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), "SELECT FROM vault.secrets WHERE name = 'locked' FOR UPDATE")
		must(t, err)
		return tx
	}
	update := func(ctx context.Context, expected uint64, id string) error {
		_, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: expected, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin(id))
		return err
	}
	t.Run("ErrUnknownAtTheDeadlineAndStillDone", func(t *testing.T) {
		tx := lock()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := update(ctx, 1, "late")
		code(t, err, core.Unavailable)
		if !strings.Contains(core.MessageOf(err), "unknown") {
			t.Error(core.MessageOf(err))
		}
		must(t, tx.Rollback(t.Context()))
		s.until("SELECT count(*) = 1 FROM vault.audit_log WHERE request_id = 'late'")
	})
	t.Run("OKCancelDoesNotCancel", func(t *testing.T) {
		tx := lock()
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() { got <- update(ctx, 2, "gone") }()
		s.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
		cancel()
		must(t, tx.Rollback(t.Context()))
		must(t, <-got)
	})
	t.Run("ErrLockTimeout", func(t *testing.T) {
		tx := lock()
		err := update(t.Context(), 3, "never")
		code(t, err, core.Unavailable)
		if strings.Contains(core.MessageOf(err), "unknown") {
			t.Error("a lock that was not got is a certain refusal")
		}
		must(t, tx.Rollback(t.Context()))
		if s.audited("never") != 0 {
			t.Error("it took effect")
		}
	})
}

// until asks as superuser until the answer is true.
func (s *server) until(question string) {
	s.t.Helper()
	c := s.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	pgtest.Eventually(s.t, question, func() (yes bool) {
		must(s.t, c.QueryRow(s.t.Context(), question).Scan(&yes))
		return yes
	})
}

func TestAWarningIsADoubt(t *testing.T) {
	s := newServer(t)
	s.sql("app", `CREATE FUNCTION public.warns() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'canceling wait'; RETURN true; END $$;
		GRANT USAGE ON SCHEMA public TO vault_service`)
	d := s.open()
	for range 2 { // also on a connection that was warned before
		_, err := perform(t.Context(), d, change[bool]{sql: "SELECT public.warns()", row: pgx.RowTo[bool]})
		code(t, err, core.Unavailable)
		if !strings.Contains(core.MessageOf(err), "unknown") {
			t.Error(err)
		}
		must(t, d.AppendAudit(t.Context(), []vault.Entry{vault.Entry{Origin: origin("after").Origin, Action: vault.ActionRead, Outcome: vault.OutcomeOK}}))
	}
}
