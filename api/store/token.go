package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// mintToken is for an operator; createToken for a REST caller.
const (
	newToken    = "ROW($1::uuid, $2::bytea, $3::text, $4::bigint, $5::bigint, $6::boolean, $7::jsonb, $8::cidr[])::vault.new_token"
	mintToken   = "SELECT t.*, " + answeredAt + " FROM vault.mint_token(" + newToken + ", $9::text, 'token', ROW($10::text, $11::text, $12::text, $13::inet, $14::text)::vault.audit_origin) t"
	createToken = "SELECT t.*, " + answeredAt + " FROM vault.create_token_as($10::bytea, $11::inet, $12::jsonb, " + newToken + ", $9::text, $13::text, $14::text) t"
)

// CreateToken implements vault.Store.
func (d *DB) CreateToken(ctx context.Context, t vault.NewToken, role string, by vault.Author) (vault.TokenInfo, error) {
	args, err := newTokenArgs(t)
	if err != nil {
		return vault.TokenInfo{}, err
	}
	args = append(args, orNull(role))
	return performToken(ctx, d, by, change[vault.TokenInfo]{
		text: func(legacy bool) (string, []any, error) {
			switch {
			case legacy && (!by.By.IsItself() || role != vault.AdminRole || t.Scope != nil || t.BoundCIDRs != nil || t.MaxTTL != 0):
				return "", nil, errLegacy()
			case legacy:
				return legacyCreateToken, append([]any{[16]byte(t.ID), t.Name, t.Fingerprint[:], orNull(seconds(t.TTL))}, originArgs(by.Origin)...), nil
			case by.By.IsItself():
				return mintToken, append(args, originArgs(by.Origin)...), nil
			}
			return createToken, append(append(args, credentialArgs(by.By)...), by.Node, orNull(by.RequestID)), nil
		},
		landed: func(ctx context.Context) (vault.TokenInfo, bool, error) {
			info, _, err := d.ShowToken(ctx, vault.Itself(), t.ID, vault.Freshness{Primary: true})
			if core.CodeOf(err) == core.NotFound {
				return info, false, nil
			}
			return info, err == nil, err
		},
	})
}

// performToken is perform for a change that returns a token. What needs a right on tokens needs manage on all names.
func performToken(ctx context.Context, d *DB, by vault.Author, c change[vault.TokenInfo]) (vault.TokenInfo, error) {
	c.refusal, c.row = refusalTo(by, "manage"), tokenRow
	info, at, err := performAt(ctx, d, c)
	info.Position = at
	return info, err
}

func newTokenArgs(t vault.NewToken) ([]any, error) {
	var scope, cidrs any
	if t.Scope != nil {
		text, err := json.Marshal(t.Scope)
		if err != nil {
			return nil, core.Wrap(core.Internal, err, "encode the scope")
		}
		scope = text
	}
	if t.BoundCIDRs != nil {
		cidrs = t.BoundCIDRs
	}
	return []any{[16]byte(t.ID), t.Fingerprint[:], t.Name, orNull(seconds(t.TTL)), orNull(seconds(t.MaxTTL)), t.Renewable, scope, cidrs}, nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

const tokenColumns = `(t.token).id, (t.token).name, (t.token).role, (t.token).method, (t.token).parent, (t.token).scopes, (t.token).bound_cidrs,
	(t.token).renewable, (t.token).ttl_secs, (t.token).created_at, (t.token).expires_at, (t.token).max_expires_at, (t.token).revoked_at, ` + answeredAt

const (
	shownTokens = "SELECT t.*, " + answeredAt + " FROM vault.list_all_tokens() t "
	allTokens   = shownTokens + "WHERE t.id > $1::uuid ORDER BY t.id LIMIT $2::integer"
)

// ListTokens implements vault.Store.
func (d *DB) ListTokens(ctx context.Context, by vault.Credential, after vault.TokenID, limit int, f vault.Freshness) ([]vault.TokenInfo, vault.Identity, error) {
	return d.tokens(ctx, f, decidedQuery[vault.TokenInfo]{
		by: by, right: "manage", sql: "SELECT t.cause, t.actor, t.acting, " + tokenColumns + " FROM vault.tokens_as($1::bytea, $2::inet, $3::jsonb, $4::uuid, $5::integer) t",
		args: []any{[16]byte(after), int32(limit)}, undecided: allTokens, row: tokenInfo,
	})
}

// ShowToken implements vault.Store.
func (d *DB) ShowToken(ctx context.Context, by vault.Credential, id vault.TokenID, f vault.Freshness) (vault.TokenInfo, vault.Identity, error) {
	sql, undecided := "SELECT t.cause, t.actor, t.acting, "+tokenColumns+" FROM vault.token_as($1::bytea, $2::inet, $3::jsonb, $4::uuid) t",
		shownTokens+"WHERE t.id = $1::uuid"
	rows, who, err := d.tokens(ctx, f, decidedQuery[vault.TokenInfo]{
		by: by, right: "manage", sql: sql, args: []any{accessorArg(id)}, undecided: undecided, row: tokenInfo,
	})
	if err == nil && len(rows) != 1 {
		err = core.Errorf(core.NotFound, "no such token")
	}
	if err != nil {
		return vault.TokenInfo{}, who, err
	}
	return rows[0], who, nil
}

// tokens asks about tokens. A schema that does not decide knows admin tokens alone, and shows them to no REST caller.
func (d *DB) tokens(ctx context.Context, f vault.Freshness, q decidedQuery[vault.TokenInfo]) ([]vault.TokenInfo, vault.Identity, error) {
	q.legacy = func() (string, error) {
		if !q.by.IsItself() {
			return "", errLegacy()
		}
		if q.undecided == allTokens {
			return legacyListTokens, nil
		}
		return legacyShowToken, nil
	}
	return decidedRead(ctx, d, f, q)
}

func accessorArg(id vault.TokenID) any {
	if id == (vault.TokenID{}) {
		return nil
	}
	return [16]byte(id)
}

const (
	extendToken = "SELECT t.*, " + answeredAt + " FROM vault.extend_token($1::uuid, $2::bigint, ROW($3::text, $4::text, $5::text, $6::inet, $7::text)::vault.audit_origin) t"
	renewToken  = "SELECT t.*, " + answeredAt + " FROM vault.renew_token_as($3::bytea, $4::inet, $5::jsonb, $1::uuid, $2::bigint, $6::text, $7::text) t"
)

// RenewToken implements vault.Store. Renewing twice is as renewing once, but for the moment it is counted from.
func (d *DB) RenewToken(ctx context.Context, id vault.TokenID, increment time.Duration, by vault.Author) (vault.TokenInfo, error) {
	args := []any{accessorArg(id), orNull(seconds(increment))}
	return performToken(ctx, d, by, change[vault.TokenInfo]{
		text: func(legacy bool) (string, []any, error) {
			switch {
			case legacy:
				return "", nil, errLegacy()
			case by.By.IsItself():
				return extendToken, append(args, originArgs(by.Origin)...), nil
			}
			return renewToken, append(append(args, credentialArgs(by.By)...), by.Node, orNull(by.RequestID)), nil
		},
		landed: neverSeen[vault.TokenInfo],
	})
}

const (
	endToken    = "SELECT vault.end_token($1::uuid, ROW($2::text, $3::text, $4::text, $5::inet, $6::text)::vault.audit_origin)"
	revokeToken = "SELECT vault.revoke_token_as($2::bytea, $3::inet, $4::jsonb, $1::uuid, $5::text, $6::text)"
)

// RevokeToken implements vault.Store. After a lost answer a token that is no longer there, or no longer valid, counts as
// revoked.
func (d *DB) RevokeToken(ctx context.Context, id vault.TokenID, by vault.Author) (ended int64, at core.Position, err error) {
	args := []any{accessorArg(id)}
	return performAt(ctx, d, change[int64]{
		text: func(legacy bool) (string, []any, error) {
			switch {
			case legacy && !by.By.IsItself():
				return "", nil, errLegacy()
			case legacy:
				return legacyRevokeToken, append(args, originArgs(by.Origin)...), nil
			case by.By.IsItself():
				return endToken, append(args, originArgs(by.Origin)...), nil
			}
			return revokeToken, append(append(args, credentialArgs(by.By)...), by.Node, orNull(by.RequestID)), nil
		},
		row: pgx.RowTo[int64], refusal: refusalTo(by, "manage"),
		landed: func(ctx context.Context) (int64, bool, error) {
			who := vault.Itself()
			if id == (vault.TokenID{}) {
				who = by.By
			}
			t, identity, err := d.ShowToken(ctx, who, id, vault.Freshness{Primary: true})
			if core.CodeOf(err) == core.NotFound || identity.Cause == vault.CauseTokenRevoked || err == nil && !t.RevokedAt.IsZero() {
				return 1, true, nil
			}
			return 0, false, err
		},
	})
}

func tokenRow(r pgx.CollectableRow) (vault.TokenInfo, error) {
	t, ok, err := tokenInfo(r.Scan)
	if err == nil && !ok {
		err = errors.New("the schema returned no token")
	}
	return t, err
}

// tokenInfo reads the columns of vault.token_info, and answeredAt.
func tokenInfo(scan scanner) (t vault.TokenInfo, ok bool, err error) {
	var id, parent *[16]byte
	var name, role, method *string
	var scopes []byte
	var renewable *bool
	var ttl *int64
	var created, expires, most, revoked, now pgtype.Timestamptz // one that is infinite must not hide the others
	err = scan(&id, &name, &role, &method, &parent, &scopes, &t.BoundCIDRs, &renewable, &ttl, &created, &expires, &most, &revoked, &now)
	if err != nil || name == nil {
		return t, false, err
	}
	t.ID, t.Parent = vault.TokenID(orZero(id)), vault.TokenID(orZero(parent)) // a batch token has no id
	t.Name, t.Role, t.Method, t.Renewable = orZero(name), orZero(role), orZero(method), orZero(renewable)
	t.TTL = time.Duration(orZero(ttl)) * time.Second
	t.CreatedAt, t.ExpiresAt, t.MaxExpiresAt, t.RevokedAt, t.Now = shownTime(created), shownTime(expires), shownTime(most), shownTime(revoked), shownTime(now)
	if scopes != nil && json.Unmarshal(scopes, &t.Scopes) != nil {
		err = core.Errorf(core.Corrupt, "the stored scopes of token %s are malformed", t.ID)
	}
	return t, true, err
}
