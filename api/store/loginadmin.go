package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// managed is a list for those who may manage everything.
func managed[T any](columns, from string, by vault.Credential, args []any, row func(scanner) (T, bool, error)) decidedQuery[T] {
	return listedFor("'manage', NULL", columns, from, by, args, row)
}

// listedFor is a list for those who have a right on a name, which right holds as two expressions.
func listedFor[T any](right, columns, from string, by vault.Credential, args []any, row func(scanner) (T, bool, error)) decidedQuery[T] {
	numbered := fill(from, 0, len(args))
	decided := fill(from, 3, len(args))
	return decidedQuery[T]{
		by: by, right: "manage", args: args, row: row, legacy: noLegacy, undecided: "SELECT " + columns + " FROM " + numbered + " x",
		sql: "SELECT d.cause, d.actor, d.acting, " + columns + " FROM vault.decide($1::bytea, $2::inet, $3::jsonb, " + right + ") d" +
			" LEFT JOIN LATERAL (SELECT f.* FROM " + decided + " f WHERE d.cause IS NULL) x ON true",
	}
}

const (
	methodList = "x.mount, x.kind, x.description, x.config, x.revision, x.created_at, x.updated_at"
	roleList   = `x.id, x.mount, x.name, x.role, x.config, x.token_type, x.token_ttl_secs, x.token_max_ttl_secs, x.scopes, x.bound_cidrs,
	x.valid_from, x.created_at, x.updated_at`
	secretIDList = "x.id, x.uses_left, x.bound_cidrs, x.created_at, x.expires_at"
)

func scanMethod(scan scanner) (vault.LoginMethod, bool, error) {
	var m methodScan
	if err := scan(m.targets()...); err != nil {
		return vault.LoginMethod{}, false, err
	}
	out, ok := m.method()
	return out, ok, nil
}

func scanLoginRole(scan scanner) (vault.LoginRole, bool, error) {
	var l roleScan
	if err := scan(l.targets()...); err != nil {
		return vault.LoginRole{}, false, err
	}
	return l.role()
}

func scanSecretID(scan scanner) (s vault.SecretIDInfo, ok bool, err error) {
	var id *[16]byte
	var uses *int64
	var created, expires *time.Time
	err = scan(&id, &uses, &s.BoundCIDRs, &created, &expires)
	s.ID, s.UsesLeft, s.CreatedAt, s.ExpiresAt = orZero(id), -1, orZero(created), orZero(expires)
	if uses != nil {
		s.UsesLeft = *uses
	}
	return s, id != nil, err
}

// oneRow is a RowToFunc of what a change returns.
func oneRow[T any](row func(scanner) (T, bool, error)) pgx.RowToFunc[T] {
	return func(r pgx.CollectableRow) (T, error) {
		out, ok, err := row(r.Scan)
		if err == nil && !ok {
			err = errors.New("the schema returned nothing")
		}
		return out, err
	}
}

// LoginMethods implements vault.Logins.
func (d *DB) LoginMethods(ctx context.Context, by vault.Credential, mount string, f vault.Freshness) ([]vault.LoginMethod, vault.Identity, error) {
	return decidedRead(ctx, d, f, managed(methodList, "vault.list_login_methods($%d::text)", by, []any{orNull(mount)}, scanMethod))
}

var putLoginMethod = signed("SELECT "+methodList+" FROM vault.put_login_method($1::text, $2::text, $3::text, $4::jsonb, ORIGIN) x", 4)

// PutLoginMethod implements vault.Logins.
func (d *DB) PutLoginMethod(ctx context.Context, m vault.LoginMethod, by vault.Author) (vault.LoginMethod, error) {
	args := []any{m.Mount, string(m.Kind), m.Description, objectArg(m.Config)}
	made, at, err := performAt(ctx, d, configuring(putLoginMethod, by, args, oneRow(scanMethod)))
	made.Position = at
	return made, err
}

// objectArg is a JSON object; none is the empty one.
func objectArg(config json.RawMessage) any {
	if len(config) == 0 || string(config) == "null" {
		return "{}"
	}
	return string(config)
}

var deleteLoginMethod = signed("SELECT vault.delete_login_method($1::text, ORIGIN) IS NOT NULL", 1)

// DeleteLoginMethod implements vault.Logins. After a lost answer one that is not there counts as deleted.
func (d *DB) DeleteLoginMethod(ctx context.Context, mount string, by vault.Author) (core.Position, error) {
	c := configuring(deleteLoginMethod, by, []any{mount}, pgx.RowTo[bool])
	c.landed = func(ctx context.Context) (bool, bool, error) {
		left, _, err := d.LoginMethods(ctx, vault.Itself(), mount, vault.Freshness{Primary: true})
		return true, err == nil && len(left) == 0, err
	}
	_, at, err := performAt(ctx, d, c)
	return at, err
}

// LoginRoles implements vault.Logins.
func (d *DB) LoginRoles(ctx context.Context, by vault.Credential, mount, name string, f vault.Freshness) ([]vault.LoginRole, vault.Identity, error) {
	return decidedRead(ctx, d, f, managed(roleList, "vault.list_login_roles($%d::text, $%d::text)", by, []any{mount, orNull(name)}, scanLoginRole))
}

var putLoginRole = signed("SELECT "+roleList+` FROM vault.put_login_role(ROW(NULL, $1::text, $2::text, $3::text, $4::jsonb, $5::text,
	$6::bigint, $7::bigint, $8::jsonb, $9::text[], NULL, NULL, NULL)::vault.login_role_info, ORIGIN) x`, 9)

// PutLoginRole implements vault.Logins.
func (d *DB) PutLoginRole(ctx context.Context, r vault.LoginRole, by vault.Author) (vault.LoginRole, error) {
	var scopes, cidrs any
	if r.Scope != nil {
		text, err := json.Marshal([]vault.Scope{r.Scope})
		if err != nil {
			return vault.LoginRole{}, core.Wrap(core.Internal, err, "encode the scope")
		}
		scopes = string(text)
	}
	if len(r.BoundCIDRs) > 0 {
		texts := make([]string, len(r.BoundCIDRs))
		for i, p := range r.BoundCIDRs {
			texts[i] = p.String()
		}
		cidrs = texts
	}
	args := []any{r.Mount, r.Name, r.Role, objectArg(r.Config), string(r.TokenType), seconds(r.TokenTTL), seconds(r.TokenMaxTTL), scopes, cidrs}
	return performLoginRole(ctx, d, configuring(putLoginRole, by, args, oneRow(scanLoginRole)))
}

var deleteLoginRole = signed("SELECT vault.delete_login_role($1::text, $2::text, ORIGIN) IS NOT NULL", 2)

// DeleteLoginRole implements vault.Logins. After a lost answer one that is not there counts as deleted.
func (d *DB) DeleteLoginRole(ctx context.Context, mount, name string, by vault.Author) (core.Position, error) {
	c := configuring(deleteLoginRole, by, []any{mount, name}, pgx.RowTo[bool])
	c.landed = func(ctx context.Context) (bool, bool, error) {
		left, _, err := d.LoginRoles(ctx, vault.Itself(), mount, name, vault.Freshness{Primary: true})
		return true, err == nil && len(left) == 0, err
	}
	_, at, err := performAt(ctx, d, c)
	return at, err
}

// performLoginRole runs a change that returns a login role.
func performLoginRole(ctx context.Context, d *DB, c change[vault.LoginRole]) (vault.LoginRole, error) {
	r, at, err := performAt(ctx, d, c)
	r.Position = at
	return r, err
}

var endBatchTokens = signed("SELECT "+roleList+" FROM vault.end_batch_tokens($1::text, $2::text, ORIGIN) x", 2)

// EndBatchTokens implements vault.Logins.
func (d *DB) EndBatchTokens(ctx context.Context, mount, name string, by vault.Author) (vault.LoginRole, error) {
	return performLoginRole(ctx, d, configuring(endBatchTokens, by, []any{mount, name}, oneRow(scanLoginRole)))
}

// SecretIDs implements vault.Logins.
func (d *DB) SecretIDs(ctx context.Context, by vault.Credential, mount, name string, after [16]byte, limit int, f vault.Freshness) ([]vault.SecretIDInfo, vault.Identity, error) {
	return decidedRead(ctx, d, f, listedFor("'issue', $4::text || '/' || $5::text", secretIDList, "vault.list_secret_ids($%d::text, $%d::text, $%d::uuid, $%d::integer)", by,
		[]any{mount, name, after, int32(limit)}, scanSecretID))
}

var putSecretID = signed("SELECT "+secretIDList+` FROM vault.put_secret_id($1::uuid, $2::text, $3::text, $4::bytea, $5::bigint, $6::bigint,
	$7::cidr[], ORIGIN) x`, 7)

// PutSecretID implements vault.Logins. After a lost answer it fails: the text of the secret id is lost then.
func (d *DB) PutSecretID(ctx context.Context, mount, name string, s vault.NewSecretID, by vault.Author) (vault.SecretIDInfo, error) {
	var cidrs any
	if len(s.BoundCIDRs) > 0 {
		cidrs = s.BoundCIDRs
	}
	c := issuing(putSecretID, by, mount+"/"+name, []any{s.ID, mount, name, s.Fingerprint[:], orNull(seconds(s.TTL)), orNull(s.Uses), cidrs}, oneRow(scanSecretID))
	c.landed = nil
	made, at, err := performAt(ctx, d, c)
	made.Position = at
	return made, err
}

var deleteSecretID = signed("SELECT vault.delete_secret_id($1::text, $2::text, $3::uuid, ORIGIN) IS NOT NULL", 3)

// DeleteSecretID implements vault.Logins.
func (d *DB) DeleteSecretID(ctx context.Context, mount, name string, accessor [16]byte, by vault.Author) (core.Position, error) {
	_, at, err := performAt(ctx, d, issuing(deleteSecretID, by, mount+"/"+name, []any{mount, name, accessor}, pgx.RowTo[bool]))
	return at, err
}
