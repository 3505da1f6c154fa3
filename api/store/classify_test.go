package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
		{"23505", "admin_tokens_name_key", 0, core.Exists, "a token of that name"},
		{"23505", "secrets_pkey", 0, core.Internal, "internal error"},
		{"VT001", "", 0, core.Stale, "server text"},
		{"22023", "", 0, core.Invalid, "server text"},
		{"23514", "secret_versions_nonce_len", 0, core.Invalid, "secret_versions_nonce_len"},
		{"22021", "", 0, core.Invalid, "refused a field"},
		{"42501", "", 0, core.Unavailable, "grant_service_role"},
		{"XX001", "", 0, core.Corrupt, "corrupted"},
		{"XX002", "", 0, core.Corrupt, "corrupted"},
		{"57014", "", 0, core.Unavailable, "cannot serve"},
		{"57P01", "", 0, core.Unavailable, "cannot serve"},
		{"25006", "", 0, core.Unavailable, "cannot serve"},
		{"53300", "", 0, core.Unavailable, "cannot serve"},
		{"08006", "", 0, core.Unavailable, "cannot serve"},
		{"40001", "", 0, core.Unavailable, "cannot serve"},
		{"55P03", "", 0, core.Unavailable, "cannot serve"},
		{"28P01", "", 0, core.Unavailable, "cannot serve"},
		{"3D000", "", 0, core.Unavailable, "cannot serve"},
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
		"28P01": {true, false, false}, "3D000": {true, false, false},
		"25006": {false, true, true}, "57P01": {false, true, true}, "57P02": {false, true, true}, "57P03": {false, true, true},
		"08006": {false, true, true}, "40001": {false, false, true}, "53300": {false, false, true},
		"VT001": {false, false, false}, "42704": {false, false, false}, "57014": {false, false, false},
	} {
		if got := [3]bool{permanent(pg(state)), demoted(pg(state)), transient(pg(state))}; got != want {
			t.Errorf("%s: %v, want %v", state, got, want)
		}
	}
	if !demoted(errInRecovery) || !transient(errInRecovery) || !transient(errors.New("EOF")) {
		t.Error("a lost connection or server is tried again")
	}
	if transient(core.Errorf(core.Corrupt, "row")) || transient(pgx.ScanArgError{}) {
		t.Error("a malformed row is tried again")
	}
}
