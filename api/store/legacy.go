package store

import (
	"context"
	"crypto/subtle"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Schemas of protocol 1 (release 0.1.0) decide about no caller. While a cluster is upgraded, this program serves them as the
// program of that release did: it compares admin tokens itself, and lets every caller read whose address may.

// decidingProtocol is the first protocol whose schemas decide.
const decidingProtocol = 2

// protocolKey is where a connection keeps the newest protocol that its schema was found to serve.
const protocolKey = "hyperion-vault.protocol"

func keepProtocol(pc *pgconn.PgConn, newest int) { pc.CustomData()[protocolKey] = newest }

// isLegacy reports whether the schema that a connection is to does not decide. A schema may be updated at any time, so one
// that did not is asked again; one that did always will.
func isLegacy(ctx context.Context, c *pgx.Conn) (bool, error) {
	if newest, _ := c.PgConn().CustomData()[protocolKey].(int); newest >= decidingProtocol {
		return false, nil
	}
	var s Schema
	if err := c.QueryRow(ctx, schemaQuery).Scan(&s.Version, &s.Oldest, &s.Newest); err != nil {
		return false, err
	}
	keepProtocol(c.PgConn(), s.Newest)
	return s.Newest < decidingProtocol, nil
}

// legacyToken is a token that is neither revoked nor expired.
type legacyToken struct {
	name        string
	fingerprint [32]byte
}

// legacyIdentity decides as release 0.1.0 did.
func legacyIdentity(ctx context.Context, c *pgx.Conn, by vault.Credential, right string) (vault.Identity, error) {
	switch right {
	case "read", "verify", "list", "status", "watch":
		return vault.Identity{Actor: "reader"}, nil
	}
	active, err := legacyTokens(ctx, c)
	if err != nil {
		return vault.Identity{}, err
	}
	who := vault.Identity{Cause: vault.CauseTokenUnknown, Actor: "anonymous"}
	for _, t := range active {
		if t.is(by) {
			who = vault.Identity{Actor: "token:" + t.name} // and go on, so that the time does not tell which one matched
		}
	}
	return who, nil
}

func (t legacyToken) is(by vault.Credential) bool {
	return subtle.ConstantTimeCompare(t.fingerprint[:], by.Fingerprint[:]) == 1 && by.Fingerprint != [32]byte{}
}

func legacyTokens(ctx context.Context, c *pgx.Conn) ([]legacyToken, error) {
	rows, err := c.Query(ctx, "SELECT t.name, t.fingerprint FROM vault.active_tokens() t")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (t legacyToken, err error) {
		var fingerprint []byte
		if err = r.Scan(&t.name, &fingerprint); err != nil {
			return t, err
		}
		if len(fingerprint) == len(t.fingerprint) { // no token has the fingerprint of zeros that a malformed one gets
			copy(t.fingerprint[:], fingerprint)
		}
		return t, nil
	})
}

// legacyPassing returns the numbers, from 1, of the callers that have a valid token or none.
func legacyPassing(ctx context.Context, c *pgx.Conn, callers []vault.Credential) ([]int64, error) {
	active, err := legacyTokens(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []int64{}
	for i, by := range callers {
		passes := !by.HasToken()
		for _, t := range active {
			passes = t.is(by) || passes
		}
		if passes {
			out = append(out, int64(i+1))
		}
	}
	return out, nil
}

// legacyRead is readAs for a schema that does not decide.
const legacyRead = `SELECT q.n::integer, NULL::text, 'reader'::text, NULL::text, r.*, NULL::jsonb, NULL::timestamptz, NULL::timestamptz
	FROM unnest($1::text[]) WITH ORDINALITY AS q (name, n) LEFT JOIN vault.read_sealed($1::text[], $2::bigint) r ON r.name = q.name`

// errLegacy is what a schema of protocol 1 cannot do.
func errLegacy() error {
	return core.Errorf(core.Unavailable, "the schema of extension hyperion_vault is older than this program, and has neither roles nor limits of tokens: "+
		"update it on the primary: ALTER EXTENSION hyperion_vault UPDATE;")
}

// What operators can do with tokens there.
const (
	legacyColumns = `t.id, t.name, 'vault_admin'::text AS role, 'token'::text AS method, NULL::uuid AS parent, NULL::jsonb AS scopes,
	NULL::text[] AS bound_cidrs, false AS renewable, NULL::bigint AS ttl_secs, t.created_at, t.expires_at, NULL::timestamptz AS max_expires_at, t.revoked_at, ` + answeredAt
	legacyListTokens  = "SELECT " + legacyColumns + " FROM vault.list_tokens() t WHERE t.id > $1::uuid ORDER BY t.id LIMIT $2::integer"
	legacyShowToken   = "SELECT " + legacyColumns + " FROM vault.list_tokens() t WHERE t.id = $1::uuid"
	legacyCreateToken = `SELECT ` + legacyColumns + ` FROM (SELECT $1::uuid AS id, $2::text AS name, pg_catalog.now() AS created_at,
		pg_catalog.now() + pg_catalog.make_interval(secs => $4::bigint) AS expires_at, NULL::timestamptz AS revoked_at) t
	CROSS JOIN LATERAL vault.create_token(t.id, t.name, $3::bytea, t.expires_at, ROW($5::text, $6::text, $7::text, $8::inet, $9::text)::vault.audit_origin) made`
	legacyRevokeToken = `SELECT pg_catalog.count(*) FROM vault.list_tokens() t CROSS JOIN LATERAL vault.revoke_token(t.name,
	ROW($2::text, $3::text, $4::text, $5::inet, $6::text)::vault.audit_origin) done WHERE t.id = $1::uuid AND t.revoked_at IS NULL`
)
