package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Login is how far the service role gets.
type Login int

// The outcomes of a login.
const (
	LoginOK Login = iota
	// LoginRefused: no such role, a wrong password, or no line of pg_hba.conf.
	LoginRefused
	// LoginNoDatabase: the database does not exist.
	LoginNoDatabase
	// LoginNotAllowed: the role may not connect to this database.
	LoginNotAllowed
	// LoginFailed: the server answers, and fails for a reason of its own (Cause), as when it starts or has no connection left.
	LoginFailed
	// LoginUnreachable: no server answers, or not in time.
	LoginUnreachable
)

// Inspection is what the service role finds on one server.
type Inspection struct {
	// Host and Port are where it looked. Host may be the directory of a unix socket.
	Host string
	Port int
	// Login is how far it got. Unless that is LoginOK, Cause says why, and the rest is zero.
	Login Login
	Cause error
	// InRecovery reports whether this is a standby.
	InRecovery bool
	// Extension is the version of the schema in the database; "" = it is not there.
	Extension string
	// Granted reports whether the role may use the schema and call every function that the API calls.
	Granted bool
	// Mismatch says why the schema does not serve this program; nil = it does, or Granted is false.
	Mismatch error
	// Preloaded reports whether the library is in shared_preload_libraries.
	Preloaded bool
	// SupervisorDatabase is hyperion_vault.database; "" unless Preloaded.
	SupervisorDatabase string
	// Skew is by how much the server's clock is ahead of this process's, exact to Doubt.
	Skew, Doubt time.Duration
}

// inspectQuery asks only what every role may ask, whether the extension is there or not.
const inspectQuery = `SELECT pg_is_in_recovery(), coalesce((SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault'), ''),
	coalesce((SELECT context = 'postmaster' FROM pg_settings WHERE name = 'hyperion_vault.database'), false),
	coalesce(current_setting('hyperion_vault.database', true), ''),
	coalesce((SELECT bool_and(has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE'))
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'vault' AND p.proname IN ('create_secret', 'read_sealed', 'append_audit', 'ship_audit', 'claim_rotations', 'api_protocols')
			AND p.prosecdef), false)`

// Inspect checks the first host of c, which is this node's. The error is about c; what is wrong with the server is in
// the Inspection. It takes no longer than c.ConnectTimeout and as long again.
func Inspect(ctx context.Context, c Config) (Inspection, error) {
	c = c.withDefaults()
	if len(c.Hosts) == 0 {
		return Inspection{}, core.Errorf(core.Invalid, "no PostgreSQL host is set")
	}
	var in Inspection
	var err error
	if in.Host, in.Port, err = splitHost(c.Hosts[0], c.Port); err != nil {
		return Inspection{}, err
	}
	conf, err := c.connection(c.Hosts[0], map[string]string{"default_transaction_read_only": "on", "statement_timeout": millis(c.ConnectTimeout)})
	if err != nil {
		return Inspection{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*c.ConnectTimeout)
	defer cancel()
	if err := in.query(ctx, conf); err != nil {
		in.Login, in.Cause = loginOf(err), (&DB{database: c.Database}).classify(err)
	}
	return in, nil
}

func (in *Inspection) query(ctx context.Context, conf *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, conf)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.QueryRow(ctx, inspectQuery).Scan(&in.InRecovery, &in.Extension, &in.Preloaded, &in.SupervisorDatabase, &in.Granted); err != nil {
		return err
	}
	if !in.Preloaded {
		in.SupervisorDatabase = ""
	}
	if in.Granted {
		if in.Mismatch = checkSchema(ctx, conn.PgConn()); in.Mismatch != nil && !errors.Is(in.Mismatch, errMismatch) {
			return in.Mismatch
		}
	}
	startedAt := time.Now()
	var theirs time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&theirs); err != nil {
		return err
	}
	took := time.Since(startedAt)
	in.Skew, in.Doubt = theirs.Sub(startedAt.Add(took/2)).Round(time.Millisecond), took/2
	return nil
}

func loginOf(err error) Login {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && strings.HasPrefix(pg.Code, "28"):
		return LoginRefused
	case ok && pg.Code == "3D000":
		return LoginNoDatabase
	case ok && pg.Code == stateNoPrivilege:
		return LoginNotAllowed
	case ok:
		return LoginFailed
	}
	return LoginUnreachable
}
