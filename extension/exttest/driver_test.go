package exttest

import (
	"context"
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestGoDrivers runs what docs/DRIVERS.md says of Go's drivers.
func TestGoDrivers(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	vaulttest.NewServer(t, db)
	s := c.connect(t, db.Name, vaulttest.Superuser)
	pool, err := sql.Open("pgx", c.DSN(db.Name, vaulttest.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	for driver, exec := range map[string]func(ctx context.Context, statement string, args ...any) error{
		"pgx": func(ctx context.Context, q string, args ...any) error { _, err := s.Exec(ctx, q, args...); return err },
		"stdlib": func(ctx context.Context, q string, args ...any) error {
			_, err := pool.ExecContext(ctx, q, args...)
			return err
		},
	} {
		for name, x := range map[string]struct {
			cast, contentType string
			value             any
		}{
			"string": {"", "text/plain; charset=utf-8", "pässword"}, "text": {"::text", "text/plain; charset=utf-8", "pässword"},
			"bytes": {"::bytea", "application/octet-stream", []byte{0, 255, 1}}, "ascii": {"::bytea", "application/octet-stream", []byte("abc")},
			"uncast": {"", "text/plain; charset=utf-8", []byte("abc")},
		} {
			if err := exec(bounded(t), "SELECT vault.create_secret($1, $2"+x.cast+")", driver+"/"+name, x.value); err != nil {
				t.Errorf("%s %s: %v", driver, name, err)
				continue
			}
			if got := get[string](s, "SELECT content_type FROM vault.list_secrets($1)", driver+"/"+name); got != x.contentType {
				t.Errorf("%s %s: %s, want %s", driver, name, got, x.contentType)
			}
		}
		wantError(t, exec(bounded(t), "SELECT vault.create_secret($1, $2)", driver+"/refused", []byte{0, 255, 1}), "22021", "invalid byte sequence")
	}
}
