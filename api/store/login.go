package store

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	methodColumns = "(x.method).mount, (x.method).kind, (x.method).description, (x.method).config, (x.method).revision, (x.method).created_at, (x.method).updated_at"
	roleColumns   = `(x.login_role).id, (x.login_role).mount, (x.login_role).name, (x.login_role).role, (x.login_role).config,
	(x.login_role).token_type, (x.login_role).token_ttl_secs, (x.login_role).token_max_ttl_secs, (x.login_role).scopes,
	(x.login_role).bound_cidrs, (x.login_role).valid_from, (x.login_role).created_at, (x.login_role).updated_at`
	findLogin = "SELECT " + methodColumns + ", " + roleColumns + `, x.address_ok, x.secret_id_cause, x.secret_id_counted, x.verifier
	FROM vault.find_login($1::text, $2::text, $3::bytea, $4::inet) x`
)

// decidingPick is a pick for a schema that has login methods, and that decides; an older one has no such functions.
func decidingPick[T any](sql string, args []any, row pgx.RowToFunc[T]) pick[T] {
	return func(ctx context.Context, c *pgx.Conn) (query[T], error) {
		old, err := isLegacy(ctx, c)
		if err == nil && old {
			err = errLegacy()
		}
		return query[T]{sql: sql, args: args, row: row}, err
	}
}

// FindLogin implements vault.Logins.
func (d *DB) FindLogin(ctx context.Context, q vault.LoginQuery, f vault.Freshness) ([]vault.FoundLogin, error) {
	args := []any{q.Mount, q.Role, digestArg(q.SecretID), addrArg(q.Addr)}
	return readFresh(ctx, d, f, decidingPick(findLogin, args, func(r pgx.CollectableRow) (x vault.FoundLogin, err error) {
		var m methodScan
		var l roleScan
		var cause, verifier *string
		var counted *bool
		err = r.Scan(append(append(m.targets(), l.targets()...), &x.AddressOK, &cause, &counted, &verifier)...)
		if err != nil {
			return x, err
		}
		x.SecretID, x.Counted, x.Verifier = vault.LoginCause(orZero(cause)), orZero(counted), password.Verifier(orZero(verifier))
		x.Method, _ = m.method()
		x.Role, _, err = l.role()
		return x, err
	}))
}

func digestArg(d [32]byte) any {
	if d == ([32]byte{}) {
		return nil
	}
	return d[:]
}

const (
	loginToken      = "SELECT t.*, " + answeredAt + " FROM vault.login_token($9::uuid, " + newToken + ", ROW($10::text, $11::text, $12::text, $13::inet, $14::text)::vault.audit_origin) t"
	loginBySecretID = "SELECT t.*, " + answeredAt + " FROM vault.login_by_secret_id($9::uuid, $15::bytea, " + newToken + ", ROW($10::text, $11::text, $12::text, $13::inet, $14::text)::vault.audit_origin) t"
)

// LoginToken implements vault.Logins. After a lost answer the token is looked for. Sent twice the login takes effect once, and
// counts one use of its secret id: the token's id is taken then.
func (d *DB) LoginToken(ctx context.Context, role [16]byte, secretID [32]byte, t vault.NewToken, o vault.Origin) (vault.TokenInfo, error) {
	args, err := newTokenArgs(t)
	if err != nil {
		return vault.TokenInfo{}, err
	}
	args = append(append(args, role), originArgs(o)...)
	sql := loginToken
	if secretID != ([32]byte{}) {
		sql, args = loginBySecretID, append(args, secretID[:])
	}
	return perform(ctx, d, change[vault.TokenInfo]{
		text: onlyDeciding(sql, args), row: tokenRow, refusal: loginRefusal,
		landed: func(ctx context.Context) (vault.TokenInfo, bool, error) {
			info, _, err := d.ShowToken(ctx, vault.Itself(), t.ID, vault.Freshness{Primary: true})
			if core.CodeOf(err) == core.NotFound {
				return info, false, nil
			}
			return info, err == nil, err
		},
	})
}

// UseSecretID implements vault.Logins. After a lost answer it is not known whether the use was counted, and the login
// fails.
func (d *DB) UseSecretID(ctx context.Context, role [16]byte, secretID [32]byte, addr netip.Addr) error {
	const sql = "SELECT vault.use_secret_id($1::uuid, $2::bytea, $3::inet) IS NOT NULL"
	_, err := perform(ctx, d, change[bool]{
		text: onlyDeciding(sql, []any{role, secretID[:], addrArg(addr)}), row: pgx.RowTo[bool], refusal: loginRefusal,
	})
	return err
}

// onlyDeciding is the text of a change that a schema of protocol 1 does not have.
func onlyDeciding(sql string, args []any) func(legacy bool) (string, []any, error) {
	return func(legacy bool) (string, []any, error) {
		if legacy {
			return "", nil, errLegacy()
		}
		return sql, args, nil
	}
}

// loginRefusal turns what the schema refuses a login into what the door is told: the detail names the cause.
func loginRefusal(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != stateNotAuthorized {
		return err
	}
	switch c := vault.LoginCause(pg.Detail); c {
	case vault.CauseLoginSecretID, vault.CauseLoginAddress:
		return &vault.LoginRefusal{Cause: c}
	}
	return err
}

const tokenKeys = "SELECT k.id, k.kms_key_id, k.wrapped_key, k.created_at FROM vault.list_token_keys() k"

// TokenKeys implements vault.Logins. An older schema has none.
func (d *DB) TokenKeys(ctx context.Context, f vault.Freshness) ([]vault.TokenKey, error) {
	return readFresh(ctx, d, f, func(ctx context.Context, c *pgx.Conn) (query[vault.TokenKey], error) {
		old, err := isLegacy(ctx, c)
		if old {
			return query[vault.TokenKey]{answer: []vault.TokenKey{}}, err
		}
		return query[vault.TokenKey]{sql: tokenKeys, row: func(r pgx.CollectableRow) (k vault.TokenKey, err error) {
			err = r.Scan(&k.ID, &k.KeyID, &k.Wrapped, &k.CreatedAt)
			return k, err
		}}, err
	})
}

var putTokenKey = signed("SELECT vault.put_token_key($1::uuid, $2::text, $3::bytea, $4::uuid, ORIGIN)", 4)

// PutTokenKey implements vault.Logins. A key that was stored before its answer got lost counts as another node's: it is
// the newest one then.
func (d *DB) PutTokenKey(ctx context.Context, k vault.TokenKey, expected [16]byte, by vault.Author) (bool, core.Position, error) {
	var before any
	if expected != ([16]byte{}) {
		before = expected
	}
	return performAt(ctx, d, configuring(putTokenKey, by, []any{k.ID, k.KeyID, k.Wrapped, before}, pgx.RowTo[bool]))
}

// configuring is a change of what logins are configured with. Each may be sent twice: it sets a state, or says that it is
// no longer there.
func configuring[T any](text signedText, by vault.Author, args []any, row pgx.RowToFunc[T]) change[T] {
	return loginChange(text.by(by, "manage", "", args), by, row)
}

// issuing is a change of the secret ids of a login role, which the target names.
func issuing[T any](text signedText, by vault.Author, target string, args []any, row pgx.RowToFunc[T]) change[T] {
	return loginChange(text.by(by, vault.RightIssue, target, args), by, row)
}

func loginChange[T any](signedBy func(legacy bool) (string, []any, error), by vault.Author, row pgx.RowToFunc[T]) change[T] {
	return change[T]{
		text: func(legacy bool) (string, []any, error) {
			if legacy {
				return "", nil, errLegacy()
			}
			return signedBy(false)
		},
		row: row, refusal: refusalTo(by, "manage"), landed: neverSeen[T],
	}
}

// methodScan reads the columns of vault.login_method_info.
type methodScan struct {
	mount, kind, description *string
	config                   []byte
	revision                 *int64
	created, updated         *time.Time
}

func (m *methodScan) targets() []any {
	return []any{&m.mount, &m.kind, &m.description, &m.config, &m.revision, &m.created, &m.updated}
}

func (m *methodScan) method() (vault.LoginMethod, bool) {
	return vault.LoginMethod{
		Mount: orZero(m.mount), Kind: vault.LoginKind(orZero(m.kind)), Description: orZero(m.description), Config: m.config,
		Revision: orZero(m.revision), CreatedAt: orZero(m.created), UpdatedAt: orZero(m.updated),
	}, m.mount != nil
}

// roleScan reads the columns of vault.login_role_info.
type roleScan struct {
	id                        *[16]byte
	mount, name, acting       *string
	config, scopes            []byte
	kind                      *string
	ttl, maxTTL               *int64
	cidrs                     []string
	valid, created, updatedAt *time.Time
}

func (l *roleScan) targets() []any {
	return []any{&l.id, &l.mount, &l.name, &l.acting, &l.config, &l.kind, &l.ttl, &l.maxTTL, &l.scopes, &l.cidrs, &l.valid, &l.created, &l.updatedAt}
}

func (l *roleScan) login() vault.LoginRole {
	return vault.LoginRole{
		ID: orZero(l.id), Mount: orZero(l.mount), Name: orZero(l.name), Role: orZero(l.acting), Config: l.config,
		TokenTTL: time.Duration(orZero(l.ttl)) * time.Second, TokenMaxTTL: time.Duration(orZero(l.maxTTL)) * time.Second,
		TokenType: vault.TokenType(orZero(l.kind)), ValidFrom: orZero(l.valid), CreatedAt: orZero(l.created), UpdatedAt: orZero(l.updatedAt),
	}
}

func (l *roleScan) role() (vault.LoginRole, bool, error) {
	if l.id == nil {
		return vault.LoginRole{}, false, nil
	}
	r := l.login()
	var scopes []vault.Scope
	if l.scopes != nil && (json.Unmarshal(l.scopes, &scopes) != nil || len(scopes) != 1) {
		return r, true, core.Errorf(core.Corrupt, "the stored scope of a login role is malformed")
	}
	if len(scopes) == 1 {
		r.Scope = scopes[0]
	}
	for _, text := range l.cidrs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return r, true, core.Errorf(core.Corrupt, "a stored network of a login role is malformed")
		}
		r.BoundCIDRs = append(r.BoundCIDRs, p)
	}
	return r, true, nil
}
