package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestClassify(t *testing.T) {
	d := &DB{database: "app"}
	const row = "Failing row contains (\\xdeadbeef)"
	for _, c := range []struct {
		state, constraint string
		position          int32
		want              core.Code
		message           string
	}{
		{"42704", "", 0, core.NotFound, "no such"},
		{"42704", "", 17, core.Unavailable, `the schema of extension hyperion_vault in database "app" does not have`},
		{"3F000", "", 1, core.Unavailable, "is not installed"},
		{"42883", "", 1, core.Unavailable, "does not have what this program calls"},
		{"42P01", "", 1, core.Unavailable, "does not have what this program calls"},
		{"23505", "secrets_name_key", 0, core.Exists, "a secret of that name"},
		{"23505", "tokens_name_key", 0, core.Exists, "a token of that name"},
		{"23505", "admin_tokens_name_key", 0, core.Exists, "a token of that name"},
		{"23505", "secrets_pkey", 0, core.Internal, "internal error"},
		{"VT001", "", 0, core.Stale, "server text"},
		{"22023", "", 0, core.Invalid, "server text"},
		{"0LP01", "", 0, core.Invalid, "server text"},
		{"23514", "secret_versions_fit", 0, core.Invalid, "secret_versions_fit"},
		{"22021", "", 0, core.Invalid, "refused a field"},
		{"42501", "", 0, core.Unavailable, "see vault.grant_service_role"},
		{"XX001", "", 0, core.Corrupt, "corrupted"},
		{"XX002", "", 0, core.Corrupt, "corrupted"},
		{"57014", "", 0, core.Unavailable, "the server cancelled the statement"},
		{"57P01", "", 0, core.Unavailable, "the session was ended"},
		{"25006", "", 0, core.Unavailable, "default_transaction_read_only"},
		{"53300", "", 0, core.Unavailable, "takes no more connections"},
		{"08006", "", 0, core.Unavailable, "connection to the database broke"},
		{"40001", "", 0, core.Unavailable, "met another one"},
		{"55P03", "", 0, core.Unavailable, "another session holds the row or the table"},
		{"28P01", "", 0, core.Unavailable, "does not accept the password"},
		{"3D000", "", 0, core.Unavailable, "the database \"app\" does not exist"},
		{"08001", "", 0, core.Unavailable, "a pooler before it could not make"},
		{"08P01", "", 0, core.Unavailable, "must name PostgreSQL itself"},
		{"25P03", "", 0, core.Unavailable, "idle in a transaction"},
		{"25P04", "", 0, core.Unavailable, "transaction_timeout"},
		{"25001", "", 0, core.Unavailable, "refused the transaction in its present state"},
		{"26000", "", 0, core.Unavailable, "a connection pooler stands before"},
		{"42P05", "", 0, core.Unavailable, "a connection pooler stands before"},
		{"28000", "", 0, core.Unavailable, "does not admit the API's role: it does not exist, may not log in"},
		{"28999", "", 0, core.Unavailable, "does not admit the API's role"},
		{"40P01", "", 0, core.Unavailable, "deadlock"},
		{"40003", "", 0, core.Unavailable, "rolled the transaction back"},
		{"53000", "", 0, core.Unavailable, "run out of a resource"},
		{"53100", "", 0, core.Unavailable, "disk is full"},
		{"53200", "", 0, core.Unavailable, "out of memory"},
		{"53400", "", 0, core.Unavailable, "a configured limit"},
		{"54000", "", 0, core.TooLarge, "a limit of the database is exceeded"},
		{"54001", "", 0, core.Internal, "internal error"},
		{"55006", "", 0, core.Unavailable, "another session uses"},
		{"55000", "", 0, core.Unavailable, "not in the state"},
		{"57P02", "", 0, core.Unavailable, "crashed and restarts"},
		{"57P03", "", 0, core.Unavailable, "starts, stops or recovers"},
		{"57P04", "", 0, core.Unavailable, "was dropped"},
		{"57P05", "", 0, core.Unavailable, "idle for too long"},
		{"57999", "", 0, core.Unavailable, "intervened"},
		{"58030", "", 0, core.Unavailable, "input or output error"},
		{"58P01", "", 0, core.Unavailable, "operating system"},
		{"F0000", "", 0, core.Unavailable, "configuration file"},
		{"XX000", "", 0, core.Internal, "internal error"},
		{"42601", "", 3, core.Internal, "internal error"},
		{"", "", 0, core.Internal, "internal error"},
	} {
		pg := &pgconn.PgError{
			Severity: "ERROR", Code: c.state, Message: "server text", ConstraintName: c.constraint, Position: c.position,
			Detail: row, Where: row, Hint: row, InternalQuery: row, SchemaName: row, DataTypeName: row,
		}
		err := d.classify(fmt.Errorf("wrapped: %w", pg))
		if core.CodeOf(err) != c.want || !strings.Contains(core.MessageOf(err), c.message) {
			t.Errorf("%s %s: %s %q", c.state, c.constraint, core.CodeOf(err), core.MessageOf(err))
		}
		if all := fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err)); strings.Contains(all, "deadbeef") {
			t.Errorf("%s: the detail is in %s", c.state, all)
		}
		if _, ok := errors.AsType[*pgconn.PgError](err); ok {
			t.Errorf("%s: the server's error is in the chain", c.state)
		}
	}
	local := map[error]string{
		pgcluster.ErrReadOnly: "default_transaction_read_only", pgcluster.ErrInRecovery: "no server that answers is the primary", pgcluster.ErrOutdated: "left behind by a failover",
		pgcluster.ErrClosed: "the API is stopping", pgcluster.ErrBusy: "connections to the database are in use", pgcluster.ErrPooled: "a connection pooler stands before", errCrowded: "too many changes of this secret", errHeld: "another session may hold a lock on its row", errReads: "other reads of the primary hold up", pgcluster.ErrSlow: "did not finish in time",
		pgcluster.ErrSilent: "the database server does not answer", pgcluster.ErrBehind: "has reached the given position", context.Canceled: "cancelled",
		context.DeadlineExceeded: "did not answer in time", errors.New("refused"): "cannot be reached",
	}
	for cause, want := range local {
		// What ended the wait does not hide what was waited for.
		err := d.classify(errors.Join(cause, fmt.Errorf("connect: %w", context.DeadlineExceeded)))
		if strings.Contains(want, "reached") && !errors.Is(cause, pgcluster.ErrBehind) || errors.Is(cause, context.Canceled) {
			err = d.classify(cause)
		}
		if core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), want) {
			t.Errorf("%v: %s %q, want %q", cause, core.CodeOf(err), core.MessageOf(err), want)
		}
	}
	own := core.Errorf(core.Corrupt, "mine")
	for err, want := range map[error]core.Code{
		nil: "", own: core.Corrupt, context.Canceled: core.Unavailable, errors.New("eof"): core.Unavailable,
		pgx.ScanArgError{ColumnIndex: 1, Err: errors.New("null")}: core.Corrupt,
	} {
		if got := core.CodeOf(d.classify(err)); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestFates(t *testing.T) {
	pg := func(severity, state string) error {
		return &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: severity, Code: state}
	}
	for name, c := range map[string]struct {
		err  error
		want fate
	}{
		"done":                      {nil, done},
		"refused":                   {pg("ERROR", "VT001"), refused},
		"refused, read only":        {pg("ERROR", "25006"), refused},
		"ended while waiting":       {pg("FATAL", "57P01"), unknown},
		"connection lost":           {errors.New("unexpected EOF"), unknown},
		"row that cannot be read":   {pgx.ScanArgError{Err: errors.New("x")}, unknown},
		"cut off before it began":   {&notSent{}, unsent},
		"deadline while on the way": {context.DeadlineExceeded, unknown},
	} {
		if got := fateOf(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

type notSent struct{}

func (*notSent) Error() string     { return "not sent" }
func (*notSent) SafeToRetry() bool { return true }

func TestWhatIsTriedAgain(t *testing.T) {
	pg := func(state string) error { return &pgconn.PgError{Code: state} }
	for state, want := range map[string][3]bool{ // permanent, demoted, transient
		"28P01": {true, false, false}, "3D000": {true, false, false}, "42501": {true, false, false},
		"25006": {false, true, true}, "57P01": {false, true, true}, "57P02": {false, true, true}, "57P03": {false, true, true},
		"08006": {false, true, true}, "40001": {false, false, true}, "53300": {false, false, true},
		"VT001": {false, false, false}, "42704": {false, false, false}, "57014": {false, false, false},
	} {
		if got := [3]bool{permanent(pg(state)), demoted(pg(state)), transient(pg(state))}; got != want {
			t.Errorf("%s: %v, want %v", state, got, want)
		}
	}
	if !demoted(pgcluster.ErrInRecovery) || !transient(pgcluster.ErrInRecovery) || !transient(errors.New("EOF")) {
		t.Error("a lost connection or server is tried again")
	}
	if transient(core.Errorf(core.Corrupt, "row")) || transient(pgx.ScanArgError{}) {
		t.Error("a malformed row is tried again")
	}
}
