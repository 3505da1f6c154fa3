package store

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const configureSettings = `($1::uuid, $2::bigint,
	ROW($3::text, $4::jsonb, $5::bigint, $6::text, $7::text, $8::bigint, $9::boolean, $10::bigint, $11::integer,
		$12::jsonb)::vault.secret_settings, `

var (
	configureSecret = signed("SELECT * FROM vault.change_settings"+configureSettings+"ROW($15::boolean, $16::bigint)::vault.version_settings, ORIGIN, $13::uuid, $14::bigint)", 16)
	// configureLegacy has the columns of vault.secret_state too.
	configureLegacy = signed("SELECT i.*, NULL::bigint, NULL::boolean, NULL::bigint, NULL::boolean FROM vault.configure_secret"+configureSettings+"ORIGIN, $13::uuid, $14::bigint) i", 14)
)

// ConfigureSecret implements vault.Store. After a lost answer it returns the settings as they are by then, perhaps after
// another change.
func (d *DB) ConfigureSecret(ctx context.Context, c vault.Configuration, by vault.Author) (vault.Secret, error) {
	args, err := settingsArgs(c.Settings)
	if err != nil {
		return vault.Secret{}, err
	}
	id := newChangeID()
	args = append(append([]any{[16]byte(c.ID), int64(c.Expected)}, args...), id, versionArg(c.Revision))
	return performSecret(ctx, d, change[vault.Secret]{
		secret: string(c.Name), refusal: refusalTo(by, "update"), row: stateRow,
		text: func(legacy bool) (string, []any, error) {
			switch {
			case !legacy:
				return configureSecret.by(by, "update", string(c.Name), append(args, c.Settings.CASRequired, c.Settings.DeleteVersionAfterSecs))(false)
			case c.Settings.CASRequired != nil || c.Settings.DeleteVersionAfterSecs != nil:
				return "", nil, errLegacy()
			}
			return configureLegacy.by(by, "update", string(c.Name), args)(true)
		},
		landed: func(ctx context.Context) (s vault.Secret, ok bool, err error) {
			if at, err := d.madeAt(ctx, id); err != nil || at.IsZero() {
				return s, false, err
			}
			s, _, err = d.DescribeSecretOnWriter(ctx, vault.Itself(), vault.ActionConfigure, c.Name)
			if core.CodeOf(err) == core.NotFound || err == nil && s.ID != c.ID {
				return s, false, errTraceless // made, and deleted since
			}
			return s, err == nil, err
		},
	})
}

// changeID is recorded with a change that leaves nothing else by which it could be told from another's: the settings are
// unspecific, and a request's id is what its client says.
type changeID = [16]byte

func newChangeID() (id changeID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// madeAt fetches from the primary when a change was made; zero = it is not there.
func (d *DB) madeAt(ctx context.Context, id changeID) (time.Time, error) {
	rows, err := readPrimary(ctx, d, "SELECT vault.change_made($1::uuid)", []any{id}, pgx.RowTo[*time.Time])
	if err != nil || len(rows) == 0 {
		return time.Time{}, err
	}
	return orZero(rows[0]), nil
}

// neverSeen makes a change that may be repeated be repeated.
func neverSeen[T any](context.Context) (out T, ok bool, err error) { return out, false, nil }

func settingsArgs(s vault.Settings) ([]any, error) {
	tags, err := tagsArg(s.Tags)
	if err != nil {
		return nil, err
	}
	policy, err := policyArg(s.GeneratePolicy)
	if err != nil {
		return nil, err
	}
	return []any{s.Description, tags, s.RotationIntervalSecs, s.RotationSchedule, s.RotationTimeZone,
		s.RotationWindowSecs, s.RotationPaused, s.GracePeriodSecs, s.KeepVersions, policy}, nil
}

var expireVersion = signed("SELECT * FROM vault.expire_version($1::uuid, $2::bigint, $3::bigint, ORIGIN, $4::uuid)", 4)

// ExpireVersion implements vault.Store.
func (d *DB) ExpireVersion(ctx context.Context, x vault.Expiry, by vault.Author) (vault.VersionInfo, error) {
	// A version that ends may be gone at once: what the answer says of it must be known before.
	before, err := d.versionOnWriter(ctx, x.Name, x.Version)
	if err != nil {
		return vault.VersionInfo{}, err
	}
	id := newChangeID()
	args := []any{[16]byte(x.ID), int64(x.Version), x.GraceSecs, id}
	v, at, err := performAt(ctx, d, change[vault.VersionInfo]{
		secret: string(x.Name), text: expireVersion.by(by, "rotate", string(x.Name), args), refusal: refusalTo(by, "rotate"), row: versionRow,
		landed: func(ctx context.Context) (v vault.VersionInfo, ok bool, err error) {
			at, err := d.madeAt(ctx, id)
			if err != nil || at.IsZero() {
				return v, false, err
			}
			if v, err = d.versionOnWriter(ctx, x.Name, x.Version); err != nil || v.Version != 0 && v.CreatedAt.Equal(before.CreatedAt) {
				return v, err == nil, err
			}
			v = before
			if end := at.Add(time.Duration(x.GraceSecs) * time.Second); end.Before(v.ExpiresAt) {
				v.ExpiresAt = end
			}
			return v, true, nil
		},
	})
	v.Position = at
	return v, err
}

// versionOnWriter fetches one version of a name from the primary; zero when it is not there.
func (d *DB) versionOnWriter(ctx context.Context, name core.Name, version uint64) (vault.VersionInfo, error) {
	all, err := readPrimary(ctx, d, describeVersions, []any{string(name)}, versionRow)
	for _, v := range all {
		if v.Version == version {
			return v, err
		}
	}
	return vault.VersionInfo{}, err
}

const claimRotations = `SELECT c.job_id, c.due_at, c.claimed_at, c.attempts, (c.secret).*
	FROM vault.claim_rotations($1::text, $2::integer, $3::integer) c`

// ClaimRotations implements vault.Store.
func (d *DB) ClaimRotations(ctx context.Context, worker string, lease time.Duration, limit int) ([]vault.Claim, error) {
	claims, err := perform(ctx, d, change[[]vault.Claim]{
		sql: claimRotations, args: []any{worker, int32(lease / time.Second), int32(limit)},
		collect: func(rows pgx.Rows) ([]vault.Claim, error) {
			return pgx.CollectRows(rows, func(r pgx.CollectableRow) (vault.Claim, error) { return claimRow(r, worker) })
		},
	})
	if err == nil && len(claims) > 0 {
		// One that is not known to be bound fails as stale, and is looked up then: the claims are held in any case.
		_ = d.boundAmong(ctx, claims)
	}
	return claims, err
}

// claimRow reads one claim. The claims are committed by now: one that is malformed must not lose the others.
func claimRow(r pgx.CollectableRow, worker string) (vault.Claim, error) {
	var (
		f            secretFields
		job          pgtype.UUID
		due, claimed pgtype.Timestamptz
		attempts     pgtype.Int4
	)
	if err := r.Scan(append([]any{&job, &due, &claimed, &attempts}, f.targets()...)...); err != nil {
		return vault.Claim{}, err
	}
	x := f.result()
	if x.Err == nil && !finite(due) {
		x.Err = core.Errorf(core.Corrupt, "the due time of %s is malformed", core.Quote(f.name.String))
	}
	return vault.Claim{
		Job: job.Bytes, Worker: worker, DueAt: due.Time, ClaimedAt: claimed.Time, Attempts: int(attempts.Int32), Secret: x.Secret, Err: x.Err,
	}, nil
}

const completeRotation = `SELECT * FROM vault.complete_rotation($1::uuid, $2::text, $3::bigint,
	ROW($4::smallint, $5::text, $6::bytea, $7::bytea, $8::bytea)::vault.sealed_value, $9::timestamptz,
	ROW($10::text, $11::text, $12::text, $13::inet, $14::text)::vault.audit_origin)`

// CompleteRotation implements vault.Store.
func (d *DB) CompleteRotation(ctx context.Context, r vault.RotatedVersion, o vault.Origin) (vault.Secret, error) {
	s := r.Claim.Secret
	args := []any{[16]byte(r.Claim.Job), r.Claim.Worker, int64(r.Expected)}
	args = append(append(append(args, sealedArgs(r.Sealed)...), timeArg(r.NextAt)), originArgs(o)...)
	sql := completeRotation
	if p := r.Password; p.Verifier != "" {
		sql, args = completeWithVerifier, append(args, [16]byte(s.ID), p.Verifier, p.Role)
	}
	return perform(ctx, d, change[vault.Secret]{
		secret: string(s.Name), sql: sql, args: args, row: secretRow,
		landed: func(ctx context.Context) (vault.Secret, bool, error) {
			return d.landed(ctx, s.ID, s.Name, r.Expected+1, r.Sealed.Nonce)
		},
	})
}

const failRotation = `SELECT vault.fail_rotation($1::uuid, $2::text, $3::text, $4::text,
	ROW($5::text, $6::text, $7::text, $8::inet, $9::text)::vault.audit_origin)`

// FailRotation implements vault.Store.
func (d *DB) FailRotation(ctx context.Context, f vault.RotationFailure, o vault.Origin) (time.Time, error) {
	args := []any{[16]byte(f.Claim.Job), f.Claim.Worker, f.Reason, string(f.Code)}
	return perform(ctx, d, change[time.Time]{
		secret: string(f.Claim.Secret.Name), sql: failRotation, args: append(args, originArgs(o)...), row: pgx.RowTo[time.Time], landed: neverSeen[time.Time],
	})
}

// RenewRotations implements vault.Store. A renewal whose answer is lost is not looked for: the next one comes soon.
func (d *DB) RenewRotations(ctx context.Context, worker string, lease time.Duration) error {
	_, err := perform(ctx, d, change[int64]{
		sql:  "SELECT vault.renew_rotations($1::text, $2::integer)",
		args: []any{worker, int32(lease / time.Second)}, row: pgx.RowTo[int64], impatient: true,
	})
	return err
}

// ReleaseRotation implements vault.Store.
func (d *DB) ReleaseRotation(ctx context.Context, c vault.Claim) error {
	_, err := perform(ctx, d, change[bool]{
		secret: string(c.Secret.Name), sql: "SELECT true FROM vault.release_rotation($1::uuid, $2::text)", args: []any{[16]byte(c.Job), c.Worker},
		row: pgx.RowTo[bool], landed: neverSeen[bool],
	})
	return err
}

const unplannedRotations = "SELECT clock_timestamp(), u.* FROM vault.unplanned_rotations($1::integer) u"

// UnplannedRotations implements vault.Store.
func (d *DB) UnplannedRotations(ctx context.Context, limit int) ([]vault.Unplanned, error) {
	return readPrimary(ctx, d, unplannedRotations, []any{int32(limit)}, func(r pgx.CollectableRow) (u vault.Unplanned, err error) {
		var f secretFields
		if err := r.Scan(append([]any{&u.Now}, f.targets()...)...); err != nil {
			return u, err
		}
		x := f.result()
		u.Secret, u.Err = x.Secret, x.Err
		return u, nil
	})
}

const planRotation = "SELECT vault.plan_rotation($1::uuid, $2::text, $3::text, $4::timestamptz)"

// PlanRotation implements vault.Store. After a lost answer it is sent again, and finds the schedule planned.
func (d *DB) PlanRotation(ctx context.Context, s vault.Secret, at time.Time) (bool, error) {
	return perform(ctx, d, change[bool]{
		secret: string(s.Name), sql: planRotation, args: []any{[16]byte(s.ID), s.Rotation.Schedule, s.Rotation.TimeZone, at},
		row: pgx.RowTo[bool], landed: neverSeen[bool],
	})
}

// FailPlans implements vault.Store. A schema of before it has no place to keep the reasons.
func (d *DB) FailPlans(ctx context.Context, failures []vault.PlanFailure, seen time.Time) error {
	ids, reasons := make([][16]byte, len(failures)), make([]string, len(failures))
	for i, f := range failures {
		ids[i], reasons[i] = f.ID, f.Reason
	}
	_, err := perform(ctx, d, change[int64]{
		sql:  "SELECT vault.fail_plans($1::uuid[], $2::text[], $3::timestamptz)",
		args: []any{ids, reasons, seen}, row: pgx.RowTo[int64], landed: neverSeen[int64],
	})
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == stateNoFunction {
		return nil
	}
	return err
}

func placeArgs(p vault.Place) []any {
	return []any{strconv.FormatUint(p.Transaction, 10), p.ID, time.UnixMicro(p.At)}
}

func place(xid string, id int64, at time.Time) (vault.Place, error) {
	n, err := strconv.ParseUint(xid, 10, 64)
	if err != nil {
		return vault.Place{}, core.Errorf(core.Corrupt, "a stored transaction id is malformed")
	}
	return vault.Place{Transaction: n, ID: id, At: at.UnixMicro()}, nil
}

// KnowsPlace implements vault.Store.
func (d *DB) KnowsPlace(ctx context.Context, p vault.Place) (vault.Knowledge, error) {
	rows, err := readPrimary(ctx, d, "SELECT vault.knows_change($1::text, $2::bigint, $3::timestamptz)", placeArgs(p), pgx.RowTo[*bool])
	switch {
	case err != nil || len(rows) != 1:
		return vault.PlaceGone, err
	case rows[0] == nil:
		return vault.PlaceOpen, nil
	case *rows[0]:
		return vault.PlaceKept, nil
	}
	return vault.PlaceGone, nil
}

// LastChange implements vault.Store.
func (d *DB) LastChange(ctx context.Context) (vault.Place, error) {
	rows, err := read(ctx, d, "SELECT c.xid, c.id, c.at FROM vault.last_change() c", nil, func(r pgx.CollectableRow) (p vault.Place, err error) {
		var xid string
		var id int64
		var at pgtype.Timestamptz
		if err := r.Scan(&xid, &id, &at); err != nil {
			return p, err
		}
		return place(xid, id, at.Time)
	})
	if err != nil || len(rows) == 0 {
		return vault.Place{}, err
	}
	return rows[0], nil
}
