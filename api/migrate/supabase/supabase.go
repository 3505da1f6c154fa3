// Package supabase reads the secrets of the extension supabase_vault as a source of an import. It never writes to that
// database. The driver keeps what it has received in buffers that no code can wipe, until the process ends.
package supabase

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// view is what supabase_vault shows the values in. It has an id, and a name that may be null.
const view = "decrypted_secrets"

// Source is the schema of supabase_vault in a database. Each of its secrets has one version, which is text.
type Source struct {
	conn *pgx.Conn
	view string // with its schema, as SQL text
	id   string // of the name that Names has called for
}

var _ migrate.Source = (*Source)(nil)

// Open connects to the database that libpq's variables (PGHOST, PGDATABASE, PGSSLMODE …) say. schema is where the extension
// is. No error has a password.
func Open(ctx context.Context, schema string) (*Source, error) {
	c, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	if err := checkEncrypted(&c.Config); err != nil {
		return nil, err
	}
	c.RuntimeParams["application_name"] = "hyperion-vault-api import"
	c.RuntimeParams["default_transaction_read_only"] = "on"
	c.RuntimeParams["search_path"] = "pg_catalog"
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	s := &Source{conn: conn, view: pgx.Identifier{schema, view}.Sanitize()}
	if err := s.check(ctx, schema); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the connection.
func (s *Source) Close() { _ = s.conn.Close(context.Background()) }

// checkEncrypted refuses to get values over a network from a server that was not verified.
func checkEncrypted(c *pgconn.Config) error {
	all := []*pgconn.FallbackConfig{{Host: c.Host, TLSConfig: c.TLSConfig}}
	for _, f := range append(all, c.Fallbacks...) {
		if !onThisMachine(f.Host) && !isVerified(f.TLSConfig) {
			return errors.New("values must not cross a network in the clear or from a server that is not verified: set PGSSLMODE=verify-full and PGSSLROOTCERT")
		}
	}
	return nil
}

func onThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.HasPrefix(host, "/") || host == "localhost" || err == nil && ip.IsLoopback()
}

func isVerified(c *tls.Config) bool {
	return c != nil && (!c.InsecureSkipVerify || c.VerifyPeerCertificate != nil)
}

// check finds out whether the schema is what it should be.
func (s *Source) check(ctx context.Context, schema string) error {
	var isThere, isOurs bool
	err := s.conn.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL, pg_catalog.to_regclass($2) IS NOT NULL",
		s.view, pgx.Identifier{schema, "secret_versions"}.Sanitize()).Scan(&isThere, &isOurs)
	switch {
	case err != nil:
		return err
	case isThere:
		return nil
	case isOurs:
		return fmt.Errorf("the schema %s is that of HyperionDB Vault: --source-schema names the one of supabase_vault", core.Quote(schema))
	}
	return fmt.Errorf("the schema %s has no view %s: --source-schema names the one of supabase_vault", core.Quote(schema), view)
}

// Names implements migrate.Source. A secret without a name has its id as its name.
func (s *Source) Names(ctx context.Context, f func(string) error, skip func(name, why string)) error {
	rows, err := s.conn.Query(ctx, "SELECT id::text, coalesce(nullif(name, ''), id::text) FROM "+s.view+" ORDER BY 2, 1")
	if err != nil {
		return err
	}
	type secret struct{ ID, Name string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[secret])
	if err != nil {
		return fmt.Errorf("list the source: %w", err)
	}
	for _, one := range all {
		if _, err := core.ParseName(one.Name); err != nil {
			skip(one.Name, core.MessageOf(err))
			continue
		}
		s.id = one.ID
		if err := f(one.Name); err != nil {
			return err
		}
	}
	return nil
}

// Fetch implements migrate.Source. The name is the one that Names has called for.
func (s *Source) Fetch(ctx context.Context, _ string) (*migrate.Secret, error) {
	var value []byte
	var description *string
	err := s.conn.QueryRow(ctx, "SELECT decrypted_secret, description FROM "+s.view+" WHERE id = $1::uuid", s.id).Scan(&value, &description)
	defer func() { envelope.Wipe(value) }()
	if errors.Is(err, pgx.ErrNoRows) {
		return migrate.Refuse("it was deleted meanwhile"), nil
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && isAboutRow(e.Code) {
		return migrate.Refuse("the source cannot decrypt it: SQLSTATE " + e.Code), nil // the text can have a part of the value
	}
	if err != nil {
		return nil, err
	}
	if description == nil {
		description = new(string)
	}
	return migrate.Text(value, *description), nil
}

// isAboutRow reports whether an error is one of a value: data exceptions, and what libsodium's functions raise.
func isAboutRow(sqlstate string) bool {
	return strings.HasPrefix(sqlstate, "22") || strings.HasPrefix(sqlstate, "39") || sqlstate == "XX000" || sqlstate == "P0001"
}
