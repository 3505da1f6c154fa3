package store

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/core"
)

// applicationName is what pg_stat_activity shows.
const applicationName = "hyperion-vault-api"

// Defaults of a Config.
const (
	defaultPort           = 5432
	defaultReaderConns    = 16
	defaultWriterConns    = 8
	defaultConnectTimeout = 2 * time.Second
	defaultRequestTimeout = 10 * time.Second
	connLifetime          = 10 * time.Minute // so that what is set in the database takes effect at last
	lockTimeout           = 3 * time.Second
	defaultLSNWait        = time.Second
)

// Config says where the database is. Printing it shows no password.
type Config struct {
	// Hosts in order of preference for reads: "host", "host:port", "[v6]:port", a
	// bare IPv6 address, or the absolute path of a unix-socket directory.
	Hosts    []string
	Port     int // for hosts without one; 0 = 5432
	User     string
	Password string // "" = none, or the one of the libpq password file
	Database string
	TLS      TLS // the zero TLS is what its Mode says of ""

	StayHome       bool          // reads stay at a first host that was left behind by a failover
	ReaderConns    int           // pool size; 0 = 16
	WriterConns    int           // pool size; 0 = 8
	ConnectTimeout time.Duration // per host; 0 = 2 s
	ReadTimeout    time.Duration // statement_timeout of the reader; 0 = half the RequestTimeout
	RequestTimeout time.Duration // bound of a call whose context has none; 0 = 10 s
	WriteTimeout   time.Duration // bound of a change whose context has none, all its tries together; 0 = three times the RequestTimeout
	LSNWait        time.Duration // how long a read waits for the reader to replay an LSN; 0 = 1 s, negative = not at all
}

// Format prints the Config without its password, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{hosts %q, user %q, database %q}", c.Hosts, c.User, c.Database)
}

var _ fmt.Formatter = Config{}

func (c Config) withDefaults() Config {
	setDefault(&c.Port, defaultPort)
	setDefault(&c.ReaderConns, defaultReaderConns)
	setDefault(&c.WriterConns, defaultWriterConns)
	setDefault(&c.ConnectTimeout, defaultConnectTimeout)
	setDefault(&c.RequestTimeout, defaultRequestTimeout)
	setDefault(&c.ReadTimeout, c.RequestTimeout/2)
	setDefault(&c.WriteTimeout, 3*c.RequestTimeout)
	if c.LSNWait == 0 {
		c.LSNWait = defaultLSNWait
	}
	return c
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// reader connects to the first host that answers, in order; it cannot write.
func (c Config) reader(newest func() uint32) (*pgcluster.Pool, error) {
	return c.pool(pgcluster.Options{StayHome: c.StayHome, NewestTimeline: newest}, c.ReaderConns, map[string]string{
		"default_transaction_read_only": "on",
		"statement_timeout":             millis(c.ReadTimeout),
		"lock_timeout":                  millis(min(lockTimeout, c.ReadTimeout/2)), // so that a lock is named as the cause
	})
}

// writer connects to the host that accepts writes. No statement timeout: it would
// cut the wait for a synchronous standby, after which a change is visible and can
// still vanish. Waiting for a lock is bounded: nothing is changed by then.
func (c Config) writer() (*pgcluster.Pool, error) {
	return c.pool(pgcluster.Options{Writer: true}, c.WriterConns, map[string]string{
		"statement_timeout": "0",
		"lock_timeout":      millis(min(lockTimeout, c.WriteTimeout/4)), // before a try's share of the time is over
	})
}

func millis(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

func (c Config) pool(o pgcluster.Options, size int, params map[string]string) (*pgcluster.Pool, error) {
	servers, err := c.servers(o.Writer, params)
	if err != nil {
		return nil, err
	}
	p, err := pgxpool.ParseConfig(servers[0].Conn.ConnString())
	if err != nil {
		return nil, errSettings(err)
	}
	p.ConnConfig = servers[0].Conn.Copy()
	p.MaxConns = int32(min(max(1, size), 10_000))
	p.MinConns = 0
	p.MaxConnLifetime = connLifetime
	p.MaxConnLifetimeJitter = connLifetime / 10
	o.Check, o.Permanent, o.SchemaChanged = checkSchema, permanent, overtaken
	return pgcluster.New(p, servers, o)
}

// servers returns the hosts with the settings of connections to each.
func (c Config) servers(writer bool, params map[string]string) ([]pgcluster.Server, error) {
	if len(c.Hosts) == 0 {
		return nil, core.Errorf(core.Invalid, "no PostgreSQL host is set")
	}
	var out []pgcluster.Server
	for _, name := range c.Hosts {
		conn, err := c.connection(name, params)
		if err != nil {
			return nil, err
		}
		if writer {
			conn.OnNotice = noteWarning
		}
		out = append(out, pgcluster.Server{Name: name, Conn: conn})
	}
	return out, nil
}

func errSettings(err error) error {
	return core.Wrap(core.Invalid, err, "the PostgreSQL settings are not valid")
}

// connection returns the settings of connections to one host.
func (c Config) connection(name string, params map[string]string) (*pgx.ConnConfig, error) {
	dsn, err := c.dsn(name)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errSettings(err)
	}
	if c.Password != "" {
		conn.Password = c.Password
	}
	for k, v := range params {
		conn.RuntimeParams[k] = v
	}
	conn.RuntimeParams["client_encoding"] = "UTF8" // the server's default is the database's encoding
	conn.RuntimeParams["jit"] = "off"              // no statement of this program runs long enough to earn what compiling it costs
	// A statement of a batch must see what was committed when it began, not when the batch did.
	conn.RuntimeParams["default_transaction_isolation"] = "read committed"
	conn.ConnectTimeout = c.ConnectTimeout
	return conn, nil
}

// dsn returns a connection string without the password, which is set afterwards
// so that no text ever holds it. What it names takes precedence over libpq's
// variables of the environment, which therefore cannot change how TLS is used.
func (c Config) dsn(name string) (string, error) {
	host, port, err := splitHost(name, c.Port)
	if err != nil {
		return "", err
	}
	if c.User == "" || c.Database == "" {
		return "", core.Errorf(core.Invalid, "the PostgreSQL user and database must be set")
	}
	var b strings.Builder
	for _, kv := range [][2]string{
		{"host", host}, {"port", strconv.Itoa(port)}, {"user", c.User}, {"dbname", c.Database}, {"target_session_attrs", "any"},
		{"application_name", applicationName}, {"search_path", "pg_catalog"},
		{"sslmode", string(c.TLS.modeFor(host))}, {"sslrootcert", c.TLS.RootCert}, {"sslcert", c.TLS.Cert}, {"sslkey", c.TLS.Key},
		{"sslnegotiation", "postgres"}, {"sslpassword", ""},
	} {
		if strings.IndexByte(kv[1], 0) >= 0 {
			return "", core.Errorf(core.Invalid, "a PostgreSQL setting holds a zero byte")
		}
		b.WriteString(kv[0] + "='" + quoteDSN.Replace(kv[1]) + "' ")
	}
	return b.String(), nil
}

var quoteDSN = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func splitHost(s string, defaultPort int) (string, int, error) {
	wrong := core.Errorf(core.Invalid, "PostgreSQL host %q is not a host, host:port, [IPv6]:port or socket directory", s)
	if s == "" || strings.ContainsAny(s, ", \t\r\n\x00") {
		return "", 0, wrong
	}
	if strings.HasPrefix(s, "/") {
		return s, defaultPort, nil
	}
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return ip.String(), defaultPort, nil
	}
	if !strings.Contains(s, ":") {
		return s, defaultPort, nil
	}
	host, p, err := net.SplitHostPort(s)
	port, perr := strconv.ParseUint(p, 10, 16)
	if err != nil || perr != nil || port == 0 || host == "" {
		return "", 0, wrong
	}
	return host, int(port), nil
}

// warning is the key under which a connection remembers that the server warned.
const warning = "hyperion-vault.warning"

// noteWarning remembers warnings on the connection. A change that is answered
// with one ("canceling wait for synchronous replication") may yet be lost.
func noteWarning(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		c.CustomData()[warning] = n.Code
	}
}
