package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/progress"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// fillBatch is how many secrets are sealed and copied at a time.
	fillBatch = 10_000
	// auditBatch is how many audit records one statement inserts.
	auditBatch = 250_000
	// fillInterval is the rotation interval of the automatic secrets.
	fillInterval = 24 * time.Hour
	// fillGrace is how long the replaced version of an automatic secret stays valid.
	fillGrace = time.Hour
)

// filledName names the i-th secret of a filled vault. A thousand secrets share a prefix.
func filledName(i int) string { return fmt.Sprintf("bench/fill/%04d/%d", i/1000, i) }

// fillVault makes so many secrets and audit records as years of use would leave. It writes the rows itself, as a superuser: the
// sealed values open like those that the API has stored. Every second secret is automatic; none is due.
func fillVault(ctx context.Context, o options) error {
	db, err := openDatabase(ctx, o)
	if err != nil {
		return err
	}
	defer db.close()
	master, err := masterKey(o.keyFile)
	if err != nil {
		return err
	}
	keeper, err := kms.NewLocal(master)
	if err != nil {
		return err
	}
	defer keeper.Close()
	f := &filler{db: db, keeper: keeper, value: []byte(db.value), out: os.Stderr}
	if err := f.secrets(ctx, o.fillSecrets); err != nil {
		return err
	}
	if err := f.audit(ctx, o.fillSecrets, o.fillAudit); err != nil {
		return err
	}
	return f.finish(ctx)
}

type filler struct {
	db     *database
	keeper *kms.Local
	value  []byte
	out    io.Writer
	bar    *progress.Bar // of the step that goes on, on a terminal
}

// progress reports how far a step is.
func (f *filler) progress(what string, done, all int, since time.Time) {
	if !progress.IsTerminal(f.out) {
		fmt.Fprintf(f.out, "%s: %d of %d (%d %%), %.0f s\n", what, done, all, 100*done/all, time.Since(since).Seconds())
		return
	}
	if f.bar == nil {
		f.bar = progress.New(f.out, what, all)
	}
	if f.bar.Set(done, all); done == all {
		f.bar.Close()
		f.bar = nil
	}
}

// filledSecret is one row of vault.secrets and those of its versions.
type filledSecret struct {
	row      []any
	versions [][]any
}

var (
	secretColumns = []string{"id", "name", "kind", "content_type", "current_version", "rotation_interval_secs",
		"rotation_schedule", "grace_period_secs", "next_rotation_at", "created_at", "updated_at"}
	versionColumns = []string{"secret_id", "version", "envelope_version", "kms_key_id", "wrapped_dek", "nonce", "ciphertext",
		"created_at", "expires_at"}
)

func (f *filler) secrets(ctx context.Context, n int) error {
	since, told := time.Now(), time.Now()
	// What counts the secrets counts again those that it has not seen being made.
	if _, err := f.db.pool.Exec(ctx, "DELETE FROM vault.supervisor_passes"); err != nil {
		return err
	}
	for first := 0; first < n; first += fillBatch {
		batch, err := f.seal(ctx, first, min(first+fillBatch, n))
		if err == nil {
			err = f.store(ctx, batch)
		}
		if err != nil {
			return fmt.Errorf("fill secrets from %d on: %w", first, err)
		}
		if done := first + len(batch); time.Since(told) > 5*time.Second || done == n {
			f.progress("secrets", done, n, since)
			told = time.Now()
		}
	}
	return nil
}

// seal makes the secrets from first up to beyond, on two goroutines.
func (f *filler) seal(ctx context.Context, first, beyond int) ([]filledSecret, error) {
	batch := make([]filledSecret, beyond-first)
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for part := range errs {
		wg.Go(func() {
			for i := part; i < len(batch) && errs[part] == nil; i += len(errs) {
				batch[i], errs[part] = f.sealOne(ctx, first+i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// sealOne makes one secret. Of the automatic ones, one in a hundred has a schedule, and one in 24 a version in grace.
func (f *filler) sealOne(ctx context.Context, i int) (s filledSecret, err error) {
	id, err := core.NewSecretID(rand.Reader)
	if err != nil {
		return s, err
	}
	now, name, current := time.Now(), core.Name(filledName(i)), uint64(1)
	kind, grace := core.Manual, time.Duration(0)
	var interval, schedule, next any
	if i%2 == 1 {
		due := mathrand.N(fillInterval - time.Hour)
		kind, grace, next = core.Automatic, fillGrace, now.Add(time.Hour+due)
		interval = int64(fillInterval / time.Second)
		if i%200 == 1 {
			interval, schedule = nil, "0 3 * * *"
		}
		if due > fillInterval-2*time.Hour {
			current = 2
		}
	}
	s.row = []any{id.String(), string(name), string(kind), string(core.Text), int64(current), interval, schedule,
		int64(grace / time.Second), next, now, now}
	for v := uint64(1); v <= current; v++ {
		var expires any
		if v < current {
			expires = now.Add(fillGrace)
		}
		row, err := f.sealVersion(ctx, envelope.Binding{ID: id, Name: name, Version: v, ContentType: core.Text})
		if err != nil {
			return s, err
		}
		s.versions = append(s.versions, append(row, now, expires))
	}
	return s, nil
}

func (f *filler) sealVersion(ctx context.Context, b envelope.Binding) ([]any, error) {
	key, err := f.keeper.Generate(ctx, b.KMSContext())
	if err != nil {
		return nil, err
	}
	defer envelope.Wipe(key.Plain)
	sealed, err := envelope.Seal(key.Plain, b, f.value)
	if err != nil {
		return nil, err
	}
	return []any{b.ID.String(), int64(b.Version), int16(envelope.Version), key.KeyID, key.Wrapped, sealed.Nonce, sealed.Ciphertext}, nil
}

func (f *filler) store(ctx context.Context, batch []filledSecret) error {
	var secrets, versions [][]any
	for _, s := range batch {
		secrets = append(secrets, s.row)
		versions = append(versions, s.versions...)
	}
	return pgx.BeginFunc(ctx, f.db.pool, func(tx pgx.Tx) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"vault", "secrets"}, secretColumns, pgx.CopyFromRows(secrets))
		if err != nil {
			return err
		}
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"vault", "secret_versions"}, versionColumns, pgx.CopyFromRows(versions))
		return err
	})
}

// hotSecret is the one that every 25th filled record is of.
const hotSecret = 0

// fillAuditSQL inserts records $1 to $2 of $3, spread over the last 30 days: reads of $4 secrets, as two nodes and a hundred
// applications leave them. Every 25th is of hotSecret.
const fillAuditSQL = `INSERT INTO vault.audit_log (at, node, actor, session_role, client_ip, action, secret_name, version, outcome,
		request_id, journal, sequence)
	SELECT now() - interval '30 days' * (1 - i::float8 / $3), 'node' || i % 2, 'role:app' || i % 100, 'app' || i % 100, '10.0.0.7',
		CASE WHEN i % 20 = 0 THEN 'verify' ELSE 'read' END,
		'bench/fill/' || to_char(n / 1000, 'FM0000') || '/' || n, 1, 'ok', 'pid-' || i % 10000,
		('00000000-0000-4000-8000-00000000000' || i % 2)::uuid, i
	FROM (SELECT i, CASE WHEN i % 25 = 0 THEN 0 ELSE (i * 7919) % $4 END AS n FROM generate_series($1::bigint, $2::bigint) i) x`

// fillJournalsSQL says that the journals of the filled records have arrived.
const fillJournalsSQL = `INSERT INTO vault.audit_journals (journal, node, last_sequence, created_at, shipped_at)
	SELECT l.journal, 'node' || l.last % 2, l.last, now() - interval '30 days', now()
	FROM (SELECT journal, max(sequence) AS last FROM vault.audit_log
	      WHERE journal IN ('00000000-0000-4000-8000-000000000000', '00000000-0000-4000-8000-000000000001') GROUP BY journal) l
	ON CONFLICT DO NOTHING`

func (f *filler) audit(ctx context.Context, secrets, n int) error {
	since := time.Now()
	for first := 1; first <= n; first += auditBatch {
		last := min(first+auditBatch-1, n)
		if _, err := f.db.pool.Exec(ctx, fillAuditSQL, first, last, n, max(secrets, 1)); err != nil {
			return fmt.Errorf("fill audit records from %d on: %w", first, err)
		}
		f.progress("audit records", last, n, since)
	}
	return nil
}

// finish leaves statistics and visibility maps as autovacuum would, and one pass of the supervisor behind.
func (f *filler) finish(ctx context.Context) error {
	for _, sql := range []string{fillJournalsSQL, "VACUUM ANALYZE", "CHECKPOINT", "SELECT vault.supervise(1000, true)"} {
		if _, err := f.db.pool.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
