package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/scram"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// The functions that take a verifier have "with_verifier" in their names, so that the server logs none of their parameters.

var appendWithVerifier = signed(`SELECT * FROM vault.append_with_verifier($1::uuid, $2::bigint,
	ROW($3::smallint, $4::text, $5::bytea, $6::bytea, $7::bytea)::vault.sealed_value,
	$8::text, ROW($9::text, $10::jsonb, NULL, NULL, NULL, NULL, NULL, $11::bigint, NULL, NULL)::vault.secret_settings,
	$12::boolean, ORIGIN, $13::text, $14::text)`, 14)

const completeWithVerifier = `SELECT * FROM vault.complete_with_verifier($1::uuid, $2::text, $15::uuid, $3::bigint,
	ROW($4::smallint, $5::text, $6::bytea, $7::bytea, $8::bytea)::vault.sealed_value, $9::timestamptz,
	ROW($10::text, $11::text, $12::text, $13::inet, $14::text)::vault.audit_origin, $16::text, $17::text)`

// NextRole implements vault.Store.
func (d *DB) NextRole(ctx context.Context, id core.SecretID) (vault.NextRole, error) {
	rows, err := readPrimary(ctx, d, "SELECT l.username, l.iterations FROM vault.next_login($1::uuid) l", []any{[16]byte(id)},
		func(r pgx.CollectableRow) (*vault.NextRole, error) {
			var name string
			var iterations int
			err := r.Scan(&name, &iterations)
			return nextRole(name, iterations), err
		})
	switch {
	case err != nil:
		return vault.NextRole{}, err
	case len(rows) != 1:
		return vault.NextRole{}, core.Errorf(core.Stale, "the secret is no longer bound to a role")
	}
	return *rows[0], nil
}

func nextRole(name string, iterations int) *vault.NextRole {
	return &vault.NextRole{Name: name, Iterations: min(iterations, scram.MaxIterations)}
}

// boundAmong finds out on the primary which of several secrets are bound to roles. In a schema without roles none is.
func (d *DB) boundAmong(ctx context.Context, claims []vault.Claim) error {
	ids := make([][16]byte, len(claims))
	for i, c := range claims {
		ids[i] = c.Secret.ID
	}
	bound, err := readPrimaryAt(ctx, d, core.Position{}, func(ctx context.Context, c *pgx.Conn) (query[pgtype.UUID], error) {
		old, err := isLegacy(ctx, c)
		if err != nil || old {
			return query[pgtype.UUID]{answer: []pgtype.UUID{}}, err
		}
		return query[pgtype.UUID]{sql: "SELECT b FROM vault.bound_among($1::uuid[]) b", args: []any{ids}, row: pgx.RowTo[pgtype.UUID]}, nil
	})
	for i := range claims {
		for _, b := range bound {
			claims[i].Secret.Bound = claims[i].Secret.Bound || core.SecretID(b.Bytes) == claims[i].Secret.ID
		}
	}
	return err
}

const bindRole = `SELECT true FROM vault.bind_with_verifier_as($1::bytea, $2::inet, $3::jsonb, $4::uuid, $5::text, $6::bigint,
	$7::text, $8::text, $9::text, ROW($10::boolean, $11::text, $12::bigint)::vault.binding_options, $13::text, $14::text,
	$15::text, $16::uuid)`

// BindRole implements vault.Store.
func (d *DB) BindRole(ctx context.Context, b vault.RoleBinding, by vault.Author) (core.Position, error) {
	id := newChangeID()
	args := append(credentialArgs(by.By), [16]byte(b.ID), string(b.Name), int64(b.Expected), b.Role, orNull(b.Other), orNull(b.Shared),
		b.AutoRepair, orNull(b.Sessions.Name), orNull(b.Sessions.MaxWaitSecs), b.Verifier, by.Node, orNull(by.RequestID), id)
	return d.performRole(ctx, b.Name, id, refusalTo(by, "update"), func(legacy bool) (string, []any, error) {
		if legacy {
			return "", nil, errLegacy()
		}
		return bindRole, args, nil
	})
}

var (
	unbindRole    = signed("SELECT true FROM vault.unbind_secret($1::uuid, ORIGIN, $2::uuid)", 2)
	configureRole = signed(`SELECT true FROM vault.put_role_options($1::uuid, ROW($2::boolean, $3::text, $4::bigint)::vault.binding_options,
		ORIGIN, $5::uuid)`, 5)
	repairRole = signed("SELECT true FROM vault.repair_with_verifier($1::uuid, $2::bigint, $3::text, ORIGIN, $4::uuid)", 4)
)

// UnbindRole implements vault.Store.
func (d *DB) UnbindRole(ctx context.Context, secret core.SecretID, name core.Name, by vault.Author) (core.Position, error) {
	id := newChangeID()
	return d.performRole(ctx, name, id, refusalTo(by, "update"), refusingLegacy(unbindRole.by(by, "update", string(name), []any{[16]byte(secret), id})))
}

// ConfigureRole implements vault.Store.
func (d *DB) ConfigureRole(ctx context.Context, secret core.SecretID, name core.Name, o vault.RoleOptions, by vault.Author) (core.Position, error) {
	id := newChangeID()
	args := []any{[16]byte(secret), o.AutoRepair, orNull(o.Sessions.Name), orNull(o.Sessions.MaxWaitSecs), id}
	return d.performRole(ctx, name, id, refusalTo(by, "update"), refusingLegacy(configureRole.by(by, "update", string(name), args)))
}

const roleSessions = "SELECT s.cause, s.actor, s.acting, s.session FROM vault.sessions_as($1::bytea, $2::inet, $3::jsonb, $4::text) s"

// RoleSessions implements vault.Store.
func (d *DB) RoleSessions(ctx context.Context, by vault.Credential, name core.Name, f vault.Freshness) ([]vault.RoleSession, vault.Identity, error) {
	return decidedRead(ctx, d, f, decidedQuery[vault.RoleSession]{
		by: by, right: "rotate", sql: roleSessions, args: []any{string(name)}, row: jsonRow[vault.RoleSession], legacy: noLegacy,
	})
}

// RepairRole implements vault.Store.
func (d *DB) RepairRole(ctx context.Context, r vault.RoleRepair, by vault.Author) (core.Position, error) {
	id := newChangeID()
	args := []any{[16]byte(r.ID), int64(r.Expected), r.Verifier, id}
	return d.performRole(ctx, r.Name, id, refusalTo(by, "rotate"), refusingLegacy(repairRole.by(by, "rotate", string(r.Name), args)))
}

func refusingLegacy(text func(bool) (string, []any, error)) func(bool) (string, []any, error) {
	return func(legacy bool) (string, []any, error) {
		if legacy {
			return "", nil, errLegacy()
		}
		return text(false)
	}
}

// performRole makes a change of a binding, which is recorded with an id.
func (d *DB) performRole(ctx context.Context, name core.Name, id changeID, refusal func(error) error, text func(bool) (string, []any, error)) (core.Position, error) {
	_, at, err := performAt(ctx, d, change[bool]{
		secret: string(name), text: text, refusal: refusal, row: pgx.RowTo[bool],
		landed: func(ctx context.Context) (bool, bool, error) {
			at, err := d.madeAt(ctx, id)
			return true, err == nil && !at.IsZero(), err
		},
	})
	return at, err
}

// IterationsOfRoles implements vault.Store.
func (d *DB) IterationsOfRoles(ctx context.Context) (int, error) {
	rows, err := readPrimary(ctx, d, "SELECT vault.scram_iterations()", nil, pgx.RowTo[int])
	if err != nil || len(rows) != 1 {
		return 0, err
	}
	return min(rows[0], scram.MaxIterations), nil
}

var boundRoles = decided("list", "NULL", "vault.bindings_of($4::text, d.role, d.scopes)")

// BoundRoles implements vault.Store. Itself sees what vault_admin sees.
func (d *DB) BoundRoles(ctx context.Context, by vault.Credential, prefix string, f vault.Freshness) ([]vault.BoundRole, vault.Identity, error) {
	return decidedRead(ctx, d, f, decidedQuery[vault.BoundRole]{
		by: by, right: "list", sql: boundRoles, args: []any{prefix}, row: boundRole,
		undecided: "SELECT * FROM vault.bindings_of($1::text, 'vault_admin'::regrole, NULL)", legacy: noLegacy,
	})
}

func boundRole(scan scanner) (out vault.BoundRole, ok bool, err error) {
	var (
		name, role, state, by    pgtype.Text
		pair, current, repair    pgtype.Bool
		version                  pgtype.Int8
		since, until, boundSince pgtype.Timestamptz
		policy                   pgtype.Text
		maxWait                  pgtype.Int8
	)
	err = scan(&name, &role, &pair, &current, &version, &state, &since, &until, &repair, &boundSince, &by, &policy, &maxWait)
	return vault.BoundRole{
		Name: core.Name(name.String), Role: role.String, Pair: pair.Bool, Current: current.Bool, Version: uint64(max(version.Int64, 0)),
		State: state.String, DriftSince: shownTime(since), ValidUntil: shownTime(until), AutoRepair: repair.Bool,
		BoundAt: shownTime(boundSince), BoundBy: by.String, Sessions: vault.SessionPolicy{Name: policy.String, MaxWaitSecs: maxWait.Int64},
	}, err == nil && name.Valid, err
}
