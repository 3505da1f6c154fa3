package exttest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	hvclient "github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/hvsql"
)

// pooledBench is a vault behind a PgBouncer that is configured as docs/ROLES.md says.
type pooledBench struct {
	*leaseBench
	addr string
}

// newPooledBench starts PgBouncer with another auth_query than the documented one unless that is empty, and with further settings.
func newPooledBench(t *testing.T, query string, settings ...string) *pooledBench {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin, err = exec.LookPath("/usr/sbin/pgbouncer") // not in every PATH
	}
	if err != nil {
		t.Skip("pgbouncer is not installed: ", err) // as in the chroots of other versions; "make test" allows no skip
	}
	b := &pooledBench{leaseBench: newLeaseBench(t)}
	ini := ""
	for _, block := range blocksOf(t, "../../docs/ROLES.md") {
		switch {
		case block.lang == "sql" && strings.Contains(block.text, "CREATE ROLE pgbouncer"):
			runSQL(t, b.c.cluster, "postgres", block.text)
		case block.lang == "ini":
			ini += block.text
		}
	}
	if query != "" {
		b.exec("ALTER ROLE pgbouncer SUPERUSER")
		ini += "auth_query = " + query + "\n"
	}
	ini += strings.Join(append(settings, ""), "\n")
	b.start(bin, ini)
	return b
}

func (b *pooledBench) start(bin, ini string) {
	b.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	pgtest.Must(b.t, err)
	b.addr = ln.Addr().String()
	_, port, _ := net.SplitHostPort(b.addr)
	pgtest.Must(b.t, ln.Close())
	dir := b.c.MustMakeDir(b.t)
	path, users := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "users")
	pgtest.Must(b.t, os.WriteFile(users, []byte(`"pgbouncer" "change-me"`+"\n"), 0o644))
	pgtest.Must(b.t, os.WriteFile(path, fmt.Appendf(nil, "[databases]\n* = host=%s port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\n"+
		"unix_socket_dir =\nauth_file = %s\npool_mode = transaction\nserver_login_retry = 1\nquery_wait_timeout = 10\n%s", b.c.addr, pgtest.Port, port, users, ini), 0o644))
	cmd := b.c.Command(bin, "-q", path)
	pgtest.Must(b.t, cmd.Start())
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pgtest.Eventually(b.t, "pgbouncer listens", func() bool {
		c, err := net.Dial("tcp", b.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// open logs in by PgBouncer.
func (b *pooledBench) open(role, password string) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig("postgres://" + b.addr + "/postgres?sslmode=disable&default_query_exec_mode=simple_protocol")
	if err != nil {
		return nil, err
	}
	conf.User, conf.Password = role, password
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	return pgx.ConnectConfig(ctx, conf)
}

// user queries as whom a client is connected, which needs a connection to the server.
func user(c *pgx.Conn) (name string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	err = c.QueryRow(ctx, "SELECT session_user::text").Scan(&name)
	return name, err
}

// use logs in by PgBouncer and runs a query.
func (b *pooledBench) use(role, password string) error {
	c, err := b.open(role, password)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.Background()) }()
	name, err := user(c)
	if err == nil && name != role {
		b.t.Errorf("%s is connected as %s", role, name)
	}
	return err
}

func (b *pooledBench) wantUse(role, password string, want bool) {
	b.t.Helper()
	if err := b.use(role, password); (err == nil) != want {
		b.t.Errorf("%s through pgbouncer: %v", role, err)
	}
}

func (b *pooledBench) read(name string) string {
	b.t.Helper()
	return get[string](b.session, "SELECT vault.read_secret($1)", name)
}

func TestPgbouncerFollowsABoundRole(t *testing.T) {
	b := newPooledBench(t, "")
	b.exec("CREATE ROLE reports LOGIN")
	b.exec("SELECT vault.create_secret('reports/db', $1::text)", "first value")
	b.exec("SELECT vault.bind_role('reports/db', 'reports')")
	b.wantUse("reports", "first value", true)
	old, err := b.open("reports", "first value")
	pgtest.Must(t, err)
	defer func() { _ = old.Close(context.Background()) }()
	b.exec("SELECT vault.update_secret('reports/db', $1::text, 1)", "second value")
	if _, err := user(old); err != nil {
		t.Error("a client that stays connected:", err)
	}
	b.wantUse("reports", "first value", false)
	b.exec("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'reports'")
	b.wantUse("reports", "second value", true)
	if _, err := user(old); err != nil {
		t.Error("a client that stays connected, after another one has logged in:", err)
	}
	b.wantUse("postgres", "", false)
}

// TestPgbouncerNeedsALoginAfterARotation: what PgBouncer has of a role is of the last login.
func TestPgbouncerNeedsALoginAfterARotation(t *testing.T) {
	b := newPooledBench(t, "")
	b.exec("CREATE ROLE reports LOGIN")
	b.exec("SELECT vault.create_secret('reports/db', $1::text)", "first value")
	b.exec("SELECT vault.bind_role('reports/db', 'reports')")
	old, err := b.open("reports", "first value")
	pgtest.Must(t, err)
	_, err = user(old)
	pgtest.Must(t, err)
	b.exec("SELECT vault.update_secret('reports/db', $1::text, 1)", "second value")
	b.exec("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'reports'")
	if _, err := user(old); err == nil {
		t.Error("a new connection to the server is made with the old password")
	}
	pgtest.Eventually(t, "a login with the new password works", func() bool { return b.use("reports", "second value") == nil })
}

func TestPgbouncerEndsPairsAndLeases(t *testing.T) {
	b := newPooledBench(t, "")
	b.pair()
	b.wantUse("shop_a", "one", true)
	b.exec("SELECT vault.rotate_secret('shop/db')")
	password := get[string](b.session, "SELECT vault.read_secret('shop/db')::jsonb ->> 'password'")
	b.wantUse("shop_b", password, true)
	b.wantUse("shop_a", "one", true) // in its grace
	b.exec("SELECT vault.expire_version('shop/db', 1)")
	b.wantUse("shop_a", "one", false)
	b.wantUse("shop_b", password, true)

	app := b.c.connect(t, "postgres", "app")
	l := b.issue(app, "app/reader", nil)
	c, err := b.open(l.username, l.password)
	pgtest.Must(t, err)
	defer func() { _ = c.Close(context.Background()) }()
	_, err = user(c)
	pgtest.Must(t, err)
	app.exec("SELECT vault.revoke_lease($1::text::uuid)", l.id)
	b.gone(l)
	if _, err := user(c); err == nil {
		t.Error("a client that stays connected uses a lease that has ended")
	}
	b.wantUse(l.username, l.password, false)
}

// TestPgbouncerSessionsAreEnded: with the policy terminate its server connections are the sessions. A client in a transaction gets an
// error, and one that is between two gets another connection, once a client has logged in with the current password.
func TestPgbouncerSessionsAreEnded(t *testing.T) {
	b := newPooledBench(t, "")
	b.exec("CREATE ROLE reports LOGIN")
	b.exec("SELECT vault.create_secret('reports/db', $1::text)", "first value")
	b.exec("SELECT vault.bind_role('reports/db', 'reports', session_policy => 'terminate')")
	var clients [2]*pgx.Conn
	for i := range clients {
		c, err := b.open("reports", "first value")
		pgtest.Must(t, err)
		defer func() { _ = c.Close(context.Background()) }()
		clients[i] = c
	}
	idle, busy := clients[0], clients[1]
	_, err := busy.Exec(t.Context(), "BEGIN")
	pgtest.Must(t, err)
	_, err = user(busy)
	pgtest.Must(t, err)
	_, err = user(idle)
	pgtest.Must(t, err)
	started := get[string](b.session, "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE usename = 'reports'")
	if n := strings.Count(started, ","); n != 1 {
		t.Fatalf("the server connections are %s", started)
	}
	b.exec("SELECT vault.update_secret('reports/db', $1::text, 1)", "second value")
	pgtest.Eventually(t, "both server connections are ended", func() bool {
		return get[int](b.session, "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'reports' AND pid::text = ANY (string_to_array($1, ','))", started) == 0
	})
	if _, err := user(busy); err == nil {
		t.Error("a transaction goes on without its server connection")
	}
	b.wantUse("reports", "second value", true)
	if _, err := user(idle); err != nil {
		t.Error("a client that was idle gets no other connection:", err)
	}
	if got := get[string](b.session, "SELECT string_agg(details ->> 'sessions', ' ') FROM vault.audit_log WHERE action = 'session_end'"); got != "2" {
		t.Errorf("the audit has %q sessions that were ended", got)
	}
	// With a pair, a client of the retired role has no other connection to get.
	b.pair()
	b.exec("SELECT vault.configure_role('shop/db', 'terminate')")
	retired, err := b.open("shop_a", "one")
	pgtest.Must(t, err)
	defer func() { _ = retired.Close(context.Background()) }()
	_, err = user(retired)
	pgtest.Must(t, err)
	b.exec("SELECT vault.rotate_secret('shop/db')")
	if _, err := user(retired); err != nil {
		t.Error("a session has ended within its grace:", err)
	}
	b.exec("SELECT vault.expire_version('shop/db', 1)")
	pgtest.Eventually(t, "the client of the retired role is refused", func() bool {
		_, err := user(retired)
		return err != nil
	})
}

// pair binds shop/db to shop_a, which has the password "one", and shop_b.
func (b *pooledBench) pair() {
	b.exec("CREATE ROLE shop")
	b.exec("CREATE ROLE shop_a LOGIN IN ROLE shop")
	b.exec("CREATE ROLE shop_b LOGIN IN ROLE shop")
	b.exec(`SELECT vault.create_secret('shop/db', '{"username": "shop_a", "password": "one"}'::text, content_type => 'application/json',
		grace_period_secs => 3600, generate_policy => '{"json_field": "password"}')`)
	b.exec("SELECT vault.bind_role_pair('shop/db', 'shop_a', 'shop_b', 'shop')")
}

// TestPgbouncersOldQueryMissesTheEnd: the query that docs/ROLES.md warns of lets a role in whose password has ended.
func TestPgbouncersOldQueryMissesTheEnd(t *testing.T) {
	b := newPooledBench(t, "SELECT usename, passwd FROM pg_shadow WHERE usename=$1")
	b.pair()
	b.wantUse("shop_a", "one", true)
	b.exec("SELECT vault.rotate_secret('shop/db')")
	b.exec("SELECT vault.expire_version('shop/db', 1)")
	b.wantUse("shop_a", "one", true)
	if b.c.login("shop_a", "one") == nil {
		t.Error("the server itself lets it in")
	}
}

// followedBench is a PgBouncer before a server whose vault has an API.
type followedBench struct {
	*pooledBench
	vault *hvclient.Client
}

func newFollowedBench(t *testing.T) *followedBench {
	t.Helper()
	b := newPooledBench(t, "", "server_lifetime = 0") // each query has PgBouncer log in to the server
	b.exec("SELECT vault.grant_service_role('" + vaulttest.ServiceRole + "')")
	api := vaulttest.NewServer(t, vaulttest.Of(b.c.Database("postgres")))
	b.session = b.c.connect(t, "postgres", "postgres") // with the API's agent
	c, err := hvclient.New(hvclient.Config{Address: api.URL, Token: api.AdminToken, MaxRetries: -1})
	pgtest.Must(t, err)
	t.Cleanup(c.Close)
	return &followedBench{b, c}
}

// follow is a pool of database/sql through PgBouncer, each of whose queries logs in.
func (b *followedBench) follow(source hvsql.Source) (*sql.DB, *hvsql.Follower) {
	b.t.Helper()
	f, err := hvsql.NewFollower(b.t.Context(), source)
	pgtest.Must(b.t, err)
	db := sql.OpenDB(hvsql.NewConnector(f, func(username, password string) (driver.Connector, error) {
		conf, err := pgx.ParseConfig("postgres://" + b.addr + "/postgres?sslmode=disable&default_query_exec_mode=simple_protocol")
		if err != nil {
			return nil, err
		}
		conf.User, conf.Password = username, password
		return stdlib.GetConnector(*conf), nil
	}))
	db.SetMaxIdleConns(-1)
	b.t.Cleanup(func() {
		_ = db.Close()
		f.Close()
	})
	return db, f
}

// underLoad rotates a secret while clients log in through PgBouncer with what a follower has. It returns how many logins there
// were, and the errors.
func (b *followedBench) underLoad(secret string, source hvsql.Source, rotations int) (logins int, failed []error) {
	b.t.Helper()
	db, f := b.follow(source)
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				limited, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
				var one int
				err := db.QueryRowContext(limited, "SELECT 1").Scan(&one)
				cancel()
				mu.Lock()
				if logins++; err != nil {
					failed = append(failed, err)
				}
				mu.Unlock()
			}
		})
	}
	for range rotations {
		b.exec("SELECT vault.rotate_secret($1)", secret)
		value := b.read(secret)
		pgtest.Eventually(b.t, "the follower has the credential", func() bool { return strings.Contains(value, f.Current().Password) })
		mu.Lock()
		before := logins
		mu.Unlock()
		pgtest.Eventually(b.t, "clients log in with it", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return logins > before+20
		})
	}
	stop()
	clients.Wait()
	return logins, failed
}

// TestPgbouncerUnderRotations: a pool of hvsql loses no login of a pair behind PgBouncer. With one role it fails at most where PgBouncer
// opens a connection to the server with what the login before the rotation has proved.
func TestPgbouncerUnderRotations(t *testing.T) {
	b := newFollowedBench(t)
	b.pair()
	logins, failed := b.underLoad("shop/db", hvsql.Secret(b.vault, "shop/db"), 4)
	for _, err := range failed {
		t.Errorf("with a pair: %v", err)
	}
	t.Logf("a pair: %d logins, %d failed", logins, len(failed))
	b.exec("CREATE ROLE shop_one LOGIN")
	b.exec("SELECT vault.create_secret('shop/one', $1::text, 'automatic', rotation_interval_secs => 86400)", "first value")
	b.exec("SELECT vault.bind_role('shop/one', 'shop_one')")
	logins, failed = b.underLoad("shop/one", hvsql.PasswordOf(b.vault, "shop_one", "shop/one"), 2)
	for _, err := range failed {
		if !isOfAFormerPassword(err) {
			t.Errorf("with one role: %v", err)
		}
		t.Logf("with one role: %v", err)
	}
	t.Logf("one role: %d logins, %d failed", logins, len(failed))
	pgtest.Eventually(t, "PgBouncer tries the server again after one refusal", func() bool { return b.use("shop_one", b.read("shop/one")) == nil })
}

// isOfAFormerPassword reports whether PgBouncer had no server connection for a client, because it was refused with the password that
// the last login before the rotation has proved.
func isOfAFormerPassword(err error) bool {
	return slices.ContainsFunc([]string{"password authentication failed", "server login has been failing", "query_wait_timeout"}, func(part string) bool {
		return strings.Contains(err.Error(), part)
	})
}
