package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/core"
)

// A protocol is the set of functions, arguments and results that this package relies on. A schema names the protocols
// that it serves, oldest and newest. A release that adds something this program cannot do without raises both numbers
// here; a schema keeps serving the protocol before its own, so that programs can be rolled back after an update.
const (
	oldestProtocol = 1
	newestProtocol = 2
)

// Schema says which schema a database has and which programs it serves.
type Schema struct {
	Version        string // of the extension
	Oldest, Newest int    // protocols that it serves
}

const schemaQuery = "SELECT coalesce(vault.extension_version(), ''), p.oldest, p.newest FROM vault.api_protocols() p"

// mismatch returns an Unavailable error unless the schema serves a protocol that this program speaks.
func (s Schema) mismatch() error {
	if s.Oldest <= newestProtocol && oldestProtocol <= s.Newest {
		return nil
	}
	fix := "update the schema on the primary: ALTER EXTENSION hyperion_vault UPDATE;"
	if s.Oldest > newestProtocol {
		fix = "install the hyperion-vault-api that belongs to it"
	}
	return core.Wrap(core.Unavailable, errMismatch,
		"schema %s of extension hyperion_vault serves API protocols %d to %d, this program speaks %d to %d: %s",
		s.Version, s.Oldest, s.Newest, oldestProtocol, newestProtocol, fix)
}

// errMismatch is the cause of each error about a schema that does not fit: no retry helps.
var errMismatch = errors.New("the schema and the program do not fit")

// errNoProtocols is a schema from before the first release.
var errNoProtocols = core.Wrap(core.Unavailable, errMismatch,
	"the schema of extension hyperion_vault does not say which API protocols it serves: it is no released version")

// checkSchema refuses a connection to a database whose schema does not serve this program: a call could mean something
// else there. A database that does not have the extension, or does not let this role use it, passes: the call itself
// says so better.
func checkSchema(ctx context.Context, pc *pgconn.PgConn) error {
	if e := pc.ParameterStatus("server_encoding"); e != "UTF8" {
		return wrongEncoding(e)
	}
	results, err := pc.Exec(ctx, schemaQuery).ReadAll()
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case stateNoFunction:
			return errNoProtocols
		case stateNoSchema, stateNoPrivilege:
			return nil
		}
	}
	if err != nil {
		return err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return errNoProtocols
	}
	s, err := parseSchema(results[0].Rows[0])
	if err != nil {
		return err
	}
	keepProtocol(pc, s.Newest)
	return s.mismatch()
}

// wrongEncoding is the error for a database whose texts need not be UTF-8. The server tells each client its encoding.
func wrongEncoding(encoding string) error {
	return core.Wrap(core.Unavailable, errMismatch,
		"the database is in encoding %s, and the vault needs UTF8: make one (CREATE DATABASE vault_utf8 TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';) and name it in VAULT_PG_DBNAME",
		core.Quote(encoding))
}

func parseSchema(row [][]byte) (s Schema, err error) {
	if len(row) != 3 {
		return s, fmt.Errorf("the schema described itself in %d columns", len(row))
	}
	s.Version = string(row[0])
	var e1, e2 error
	s.Oldest, e1 = strconv.Atoi(string(row[1]))
	s.Newest, e2 = strconv.Atoi(string(row[2]))
	return s, errors.Join(e1, e2)
}
