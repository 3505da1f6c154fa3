package config_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperiondb/hyperion-vault/api/config"
)

// masterKey is 32 bytes with + and / in their base64, so that another alphabet shows.
var (
	masterBytes = []byte("\xfb\xef\xff0123456789abcdefghijklmnopqrs")
	masterKey   = base64.StdEncoding.EncodeToString(masterBytes)
)

func environ(kv ...string) func() []string { return func() []string { return kv } }

// with is an environment that starts, plus kv.
func with(kv ...string) func() []string {
	return environ(append(kv, "VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+masterKey, "VAULT_ALLOWED_IPS=127.0.0.1",
		"VAULT_API_LISTEN=127.0.0.1:8200", "VAULT_NODE_NAME=node")...)
}

func mustLoad(t *testing.T, env func() []string) (config.Config, []config.Warning) {
	t.Helper()
	c, w, err := config.Load(env)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

func TestLoadDefaults(t *testing.T) {
	c, warnings := mustLoad(t, with())
	want := config.Default()
	want.NodeName, want.KMS.Mode, want.KMS.MasterKey = "node", "local", masterBytes
	c.AllowedIPs, want.AllowedIPs = want.AllowedIPs, c.AllowedIPs // no exported fields to compare
	if want.AllowedIPs.Len() != 1 || fmt.Sprint(c.Listen, want.Listen) != "[http://127.0.0.1:8200] [http://0.0.0.0:8200]" || c.Postgres.Port != 5432 || c.RotationPoll != 15*time.Second ||
		c.KMS.CacheTTL != 300*time.Second || c.KMS.MaxRetries != 5 || c.MaxValueLen != 65536 || c.Postgres.User != "vault_service" ||
		c.Postgres.Database != "postgres" || !slices.Equal(c.Postgres.Hosts, []string{"127.0.0.1"}) || c.TrustedProxies != nil ||
		c.Agent.Socket != "/run/hyperion-vault/agent.sock" || !slices.Equal(c.Agent.Peers, []string{"postgres"}) ||
		c.RequestTimeout != 10*time.Second || c.ReadPrimary || c.LSNWait != time.Second || c.ShutdownTimeout != 30*time.Second || c.LogLevel != slog.LevelInfo {
		t.Errorf("defaults: %+v", c)
	}
	if string(c.KMS.MasterKey) != string(masterBytes) || c.NodeName != "node" || c.KMS.Mode != "local" {
		t.Errorf("settings: %+v", c)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Text, "for development") {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestLoadReads(t *testing.T) {
	prefixes := func(ss ...string) (ps []netip.Prefix) {
		for _, s := range ss {
			ps = append(ps, netip.MustParsePrefix(s))
		}
		return ps
	}
	for _, tt := range []struct {
		env  string
		get  func(config.Config) any
		want any
	}{
		{"VAULT_API_LISTEN=127.0.0.1:0", func(c config.Config) any { return fmt.Sprint(c.Listen) }, "[http://127.0.0.1:0]"},
		{"VAULT_API_LISTEN=:8200", func(c config.Config) any { return fmt.Sprint(c.Listen) }, "[http://:8200]"},
		{"VAULT_API_LISTEN=[::1]:8200", func(c config.Config) any { return fmt.Sprint(c.Listen) }, "[http://[::1]:8200]"},
		{"VAULT_ALLOWED_IPS=10.0.0.0/8, ::1", func(c config.Config) any { return c.AllowedIPs.Len() }, 2},
		{"VAULT_TRUST_PROXY=false", func(c config.Config) any { return c.TrustedProxies }, []netip.Prefix(nil)},
		{"VAULT_TRUST_PROXY=TRUE", func(c config.Config) any { return c.TrustedProxies }, prefixes("127.0.0.0/8", "::1/128")},
		{"VAULT_TRUST_PROXY=10.0.0.1, fd00::/8", func(c config.Config) any { return c.TrustedProxies }, prefixes("10.0.0.1/32", "fd00::/8")},
		{"VAULT_ALLOWED_HOSTS=Vault.example.org., db1,10.0.0.1,[::1]", func(c config.Config) any { return c.AllowedHosts }, []string{"vault.example.org", "db1"}},
		{"VAULT_METRICS_ALLOWED_IPS=10.0.0.1", func(c config.Config) any { return c.MetricsIPs.String() }, "10.0.0.1"},
		{"VAULT_X=1", func(c config.Config) any { return c.MetricsIPs == nil }, true},
		{"VAULT_PG_HOSTS=n1, n2.example.org,10.0.0.1,::1,/run/postgresql,db:5433,[::1]:5434", func(c config.Config) any { return c.Postgres.Hosts },
			[]string{"n1", "n2.example.org", "10.0.0.1", "::1", "/run/postgresql", "db:5433", "[::1]:5434"}},
		{"VAULT_PG_PORT=65535", func(c config.Config) any { return c.Postgres.Port }, uint16(65535)},
		{"VAULT_PG_USER=Ünï code", func(c config.Config) any { return c.Postgres.User }, "Ünï code"},
		{"VAULT_PG_PASSWORD=p@:/ \\'\"", func(c config.Config) any { return string(c.Postgres.Password) }, "p@:/ \\'\""},
		{"VAULT_PG_DBNAME=app", func(c config.Config) any { return c.Postgres.Database }, "app"},
		{"VAULT_READ_CONSISTENCY=primary", func(c config.Config) any { return c.ReadPrimary }, true},
		{"VAULT_READ_CONSISTENCY=local", func(c config.Config) any { return c.ReadPrimary }, false},
		{"VAULT_X=1", func(c config.Config) any { return fmt.Sprint(c.Quota) }, "{0 30/m 0}"},
		{"VAULT_QUOTA_READS=500", func(c config.Config) any { return c.Quota.Reads.String() }, "500/s"},
		{"VAULT_QUOTA_VERIFIES=0", func(c config.Config) any { return c.Quota.Verifies.Unlimited() }, true},
		{"VAULT_QUOTA_CHANGES=90/h", func(c config.Config) any { return c.Quota.Changes.String() }, "90/h"},
		{"VAULT_LSN_WAIT_MS=250", func(c config.Config) any { return c.LSNWait }, 250 * time.Millisecond},
		{"VAULT_LSN_WAIT_MS=0", func(c config.Config) any { return c.LSNWait }, time.Duration(0)},
		{"VAULT_ROTATION_POLL_SECS=1", func(c config.Config) any { return c.RotationPoll }, time.Second},
		{"VAULT_DEK_CACHE_TTL_SECS=0", func(c config.Config) any { return c.KMS.CacheTTL }, time.Duration(0)},
		{"VAULT_KMS_MAX_RETRIES=0", func(c config.Config) any { return c.KMS.MaxRetries }, 0},
		{"VAULT_AGENT_SOCKET=/tmp//a.sock", func(c config.Config) any { return c.Agent.Socket }, "/tmp/a.sock"},
		{"VAULT_AGENT_SOCKET=OFF", func(c config.Config) any { return c.Agent.Socket }, ""},
		{"VAULT_AGENT_PEERS=postgres, 999", func(c config.Config) any { return c.Agent.Peers }, []string{"postgres", "999"}},
		{"VAULT_AUDIT_DIR=/srv/audit/", func(c config.Config) any { return c.Audit.Dir }, "/srv/audit"},
		{"VAULT_AUDIT_SYNC=always", func(c config.Config) any { return c.Audit.SyncAlways }, true},
		{"VAULT_AUDIT_SYNC=interval", func(c config.Config) any { return c.Audit.SyncAlways }, false},
		{"VAULT_AUDIT_MAX_BYTES=1099511627776", func(c config.Config) any { return c.Audit.MaxBytes }, int64(1 << 40)},
		{"VAULT_MAX_VALUE_BYTES=1048576", func(c config.Config) any { return c.MaxValueLen }, 1 << 20},
		{"VAULT_REQUEST_TIMEOUT_SECS=3600", func(c config.Config) any { return c.RequestTimeout }, time.Hour},
		{"VAULT_SHUTDOWN_TIMEOUT_SECS=1", func(c config.Config) any { return c.ShutdownTimeout }, time.Second},
		{"VAULT_LOG_LEVEL=Debug", func(c config.Config) any { return c.LogLevel }, slog.LevelDebug},
		{"VAULT_PG_PORT=", func(c config.Config) any { return c.Postgres.Port }, uint16(5432)},
	} {
		t.Run(tt.env, func(t *testing.T) {
			c, _ := mustLoad(t, with(tt.env))
			if d := cmp.Diff(tt.want, tt.get(c), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLoadNodeNameIsHostname(t *testing.T) {
	c, _ := mustLoad(t, environ("VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+masterKey))
	if h, _ := os.Hostname(); c.NodeName != h {
		t.Errorf("node %q, host %q", c.NodeName, h)
	}
}

// TestLoadErrors is the catalogue of messages: each is the whole text of the error.
func TestLoadErrors(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, tt := range []struct{ env, want string }{
		{"VAULT_API_LISTEN=8200", `VAULT_API_LISTEN="8200": want host:port, as in 0.0.0.0:8200, or several, as in https://0.0.0.0:8200,http://127.0.0.1:8201`},
		{"VAULT_API_LISTEN=::1:8200", `VAULT_API_LISTEN="::1:8200": want host:port, as in 0.0.0.0:8200, or several, as in https://0.0.0.0:8200,http://127.0.0.1:8201`},
		{"VAULT_API_LISTEN=0.0.0.0:http", `VAULT_API_LISTEN="0.0.0.0:http": want host:port, as in 0.0.0.0:8200, or several, as in https://0.0.0.0:8200,http://127.0.0.1:8201: the port is a number up to 65535`},
		{"VAULT_API_LISTEN=0.0.0.0:65536", `VAULT_API_LISTEN="0.0.0.0:65536": want host:port, as in 0.0.0.0:8200, or several, as in https://0.0.0.0:8200,http://127.0.0.1:8201: the port is a number up to 65535`},
		{"VAULT_ALLOWED_IPS=10.0.0.0/33,nowhere", `VAULT_ALLOWED_IPS="10.0.0.0/33,nowhere": want comma-separated addresses or CIDR networks: ` +
			`entry 1 "10.0.0.0/33" has a wrong prefix length; entry 2 "nowhere" is not an IPv4 or IPv6 address or network`},
		{"VAULT_TRUST_PROXY=yes", `VAULT_TRUST_PROXY="yes": want false, true (loopback proxies) or comma-separated proxy addresses or CIDR networks: ` +
			`entry 1 "yes" is not an IPv4 or IPv6 address or network`},
		{"VAULT_ALLOWED_HOSTS=vault:8200", `VAULT_ALLOWED_HOSTS="vault:8200": want comma-separated host names, without ports`},
		{"VAULT_ALLOWED_HOSTS=https://vault", `VAULT_ALLOWED_HOSTS="https://vault": want comma-separated host names, without ports`},
		{"VAULT_ALLOWED_HOSTS=a,,b", `VAULT_ALLOWED_HOSTS="a,,b": want comma-separated host names, without ports`},
		{"VAULT_ALLOWED_HOSTS=*", `VAULT_ALLOWED_HOSTS="*": want comma-separated host names, without ports`},
		{"VAULT_METRICS_ALLOWED_IPS=x", `VAULT_METRICS_ALLOWED_IPS="x": want comma-separated addresses or CIDR networks: entry 1 "x" is not an IPv4 or IPv6 address or network`},
		{"VAULT_PG_HOSTS=a,,b", `VAULT_PG_HOSTS="a,,b": want comma-separated host, host:port, [IPv6]:port or socket directory: an entry is empty`},
		{"VAULT_PG_HOSTS=db:0", `VAULT_PG_HOSTS="db:0": want comma-separated host, host:port, [IPv6]:port or socket directory`},
		{"VAULT_PG_HOSTS=postgres://db/x", `VAULT_PG_HOSTS="postgres://db/x": want comma-separated host, host:port, [IPv6]:port or socket directory`},
		{"VAULT_PG_HOSTS=host=db", `VAULT_PG_HOSTS="host=db": want comma-separated host, host:port, [IPv6]:port or socket directory`},
		{"VAULT_PG_HOSTS=a b", `VAULT_PG_HOSTS="a b": want comma-separated host, host:port, [IPv6]:port or socket directory`},
		{"VAULT_PG_PORT=0", `VAULT_PG_PORT="0": want a port, 1 to 65535`},
		{"VAULT_PG_PORT=+5432", `VAULT_PG_PORT="+5432": want a port, 1 to 65535`},
		{"VAULT_PG_USER=a\x01b", `VAULT_PG_USER="a\x01b": want a role name of at most 63 bytes without control characters`},
		{"VAULT_PG_DBNAME=" + long, `VAULT_PG_DBNAME="` + long[:40] + `"...: want a database name of at most 63 bytes without control characters`},
		{"VAULT_KMS_MODE=Local", `VAULT_KMS_MODE="Local": want aws or local`},
		{"VAULT_RECOVERY_RECIPIENT=AGE-SECRET-KEY-1X", `VAULT_RECOVERY_RECIPIENT (value not shown): want an X25519 recipient of age, as age-keygen prints it (age1...)`},
		{"VAULT_KMS_KEY_ID=a b", `VAULT_KMS_KEY_ID="a b": want a key id, key ARN, alias/NAME or alias ARN, at most 2048 bytes`},
		{"VAULT_KMS_KEY_ID=arn:aws:kms:eu-west-1", `VAULT_KMS_KEY_ID="arn:aws:kms:eu-west-1": want a key id, key ARN, alias/NAME or alias ARN, at most 2048 bytes`},
		{"VAULT_ROTATION_POLL_SECS=0", `VAULT_ROTATION_POLL_SECS="0": want whole seconds, 1 to 31536000`},
		{"VAULT_DEK_CACHE_TTL_SECS=5m", `VAULT_DEK_CACHE_TTL_SECS="5m": want whole seconds, 0 disables`},
		{"VAULT_DEK_CACHE_TTL_SECS=-1", `VAULT_DEK_CACHE_TTL_SECS="-1": want whole seconds, 0 disables`},
		{"VAULT_DEK_CACHE_TTL_SECS=1.5", `VAULT_DEK_CACHE_TTL_SECS="1.5": want whole seconds, 0 disables`},
		{"VAULT_DEK_CACHE_TTL_SECS=99999999999999999999", `VAULT_DEK_CACHE_TTL_SECS="99999999999999999999": want whole seconds, 0 disables`},
		{"VAULT_DEK_CACHE_TTL_SECS=31536001", `VAULT_DEK_CACHE_TTL_SECS="31536001": want whole seconds, 0 disables: at most 31536000`},
		{"VAULT_KMS_MAX_RETRIES=many", `VAULT_KMS_MAX_RETRIES="many": want a whole number up to 1000, 0 disables`},
		{"VAULT_AGENT_SOCKET=agent.sock", `VAULT_AGENT_SOCKET="agent.sock": want an absolute path of at most 107 bytes, or off`},
		{"VAULT_AGENT_SOCKET=/run/x/", `VAULT_AGENT_SOCKET="/run/x/": want an absolute path of at most 107 bytes, or off`},
		{"VAULT_AGENT_SOCKET=/" + long[:107], `VAULT_AGENT_SOCKET="/` + long[:39] + `"...: want an absolute path of at most 107 bytes, or off`},
		{"VAULT_AGENT_PEERS=,", `VAULT_AGENT_PEERS=",": want comma-separated OS users, by name or numeric id: an entry is empty`},
		{"VAULT_AGENT_PEERS=a b", `VAULT_AGENT_PEERS="a b": want comma-separated OS users, by name or numeric id`},
		{"VAULT_AUDIT_DIR=audit", `VAULT_AUDIT_DIR="audit": want an absolute path without control characters`},
		{"VAULT_AUDIT_SYNC=never", `VAULT_AUDIT_SYNC="never": want interval or always`},
		{"VAULT_AUDIT_MAX_BYTES=1048575", `VAULT_AUDIT_MAX_BYTES="1048575": want whole bytes, 1048576 to 1099511627776`},
		{"VAULT_AUDIT_MAX_BYTES=1GiB", `VAULT_AUDIT_MAX_BYTES="1GiB": want whole bytes, 1048576 to 1099511627776`},
		{"VAULT_MAX_VALUE_BYTES=1048577", `VAULT_MAX_VALUE_BYTES="1048577": want whole bytes, 1 to 1048576: at most 1048576`},
		{"VAULT_MAX_VALUE_BYTES=64KiB", `VAULT_MAX_VALUE_BYTES="64KiB": want whole bytes, 1 to 1048576`},
		{"VAULT_NODE_NAME=a\nb", `VAULT_NODE_NAME="a\nb": want at most 255 bytes without control characters`},
		{"VAULT_READ_CONSISTENCY=Primary", `VAULT_READ_CONSISTENCY="Primary": want local or primary`},
		{"VAULT_LSN_WAIT_MS=60001", `VAULT_LSN_WAIT_MS="60001": want whole milliseconds, 0 to 60000: at most 60000`},
		{"VAULT_QUOTA_READS=10/d", `VAULT_QUOTA_READS="10/d": want a whole number up to 1000000, with /s, /m or /h after it if not for each second; 0 is no limit`},
		{"VAULT_QUOTA_VERIFIES=-1", `VAULT_QUOTA_VERIFIES="-1": want a whole number up to 1000000, with /s, /m or /h after it if not for each second; 0 is no limit`},
		{"VAULT_LSN_WAIT_MS=1s", `VAULT_LSN_WAIT_MS="1s": want whole milliseconds, 0 to 60000`},
		{"VAULT_REQUEST_TIMEOUT_SECS=0", `VAULT_REQUEST_TIMEOUT_SECS="0": want whole seconds, 1 to 3600`},
		{"VAULT_SHUTDOWN_TIMEOUT_SECS=3601", `VAULT_SHUTDOWN_TIMEOUT_SECS="3601": want whole seconds, 1 to 3600: at most 3600`},
		{"VAULT_LOG_LEVEL=loud", `VAULT_LOG_LEVEL="loud": want debug, info, warn or error`},
	} {
		t.Run(tt.env[:min(len(tt.env), 60)], func(t *testing.T) {
			c, _, err := config.Load(with(tt.env))
			if err == nil || err.Error() != tt.want {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			var ce *config.Error
			name, _, _ := strings.Cut(tt.env, "=")
			if !errors.As(err, &ce) || len(ce.Problems) != 1 || ce.Problems[0].Name != name {
				t.Errorf("problems: %+v", ce)
			}
			if c.Listen != nil || c.KMS.MasterKey != nil {
				t.Error("a Config came with the error")
			}
		})
	}
}

func TestLoadMasterKey(t *testing.T) {
	const want = "VAULT_LOCAL_MASTER_KEY (value not shown): want base64 of exactly 32 bytes (standard alphabet, padded, nothing around it)"
	for name, key := range map[string]string{
		"ErrShort":       base64.StdEncoding.EncodeToString(masterBytes[:31]),
		"ErrLong":        base64.StdEncoding.EncodeToString(append(slices.Clone(masterBytes), 'x')),
		"ErrURLAlphabet": base64.URLEncoding.EncodeToString(masterBytes),
		"ErrNoPadding":   base64.RawStdEncoding.EncodeToString(masterBytes),
		"ErrNewline":     masterKey + "\n",
		"ErrInnerLine":   masterKey[:20] + "\r\n" + masterKey[20:],
		"ErrSpace":       " " + masterKey,
		"ErrSlackBits":   masterKey[:42] + "/=", // the last character may hold two bits that mean nothing
		"ErrHex":         strings.Repeat("0f", 32),
		"ErrText":        "correct horse battery staple",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := config.Load(environ("VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+key))
			if err == nil || err.Error() != want {
				t.Fatalf("got %v", err)
			}
		})
	}
	t.Run("ErrAbsent", func(t *testing.T) {
		for _, env := range [][]string{{"VAULT_KMS_MODE=local"}, {"VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="}} {
			_, _, err := config.Load(environ(env...))
			if err == nil || !strings.HasPrefix(err.Error(), "VAULT_LOCAL_MASTER_KEY is not set: ") {
				t.Fatalf("got %v", err)
			}
		}
	})
}

func TestLoadNothing(t *testing.T) {
	_, warnings, err := config.Load(environ())
	if err == nil || err.Error() != `VAULT_KMS_KEY_ID is not set: VAULT_KMS_MODE=aws, which is the default, needs the id, ARN or alias `+
		`of a key of AWS KMS (for development without AWS there is VAULT_KMS_MODE=local)` {
		t.Errorf("error: %v", err)
	}
	if len(warnings) != 2 || warnings[0].Name != "VAULT_API_LISTEN" || warnings[1].Name != "VAULT_ALLOWED_IPS" || !strings.Contains(warnings[1].Text, "denied") {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestLoadAWS(t *testing.T) {
	for _, id := range []string{"1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab", "alias/vault/prod",
		"arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws-cn:kms:cn-north-1:123456789012:alias/vault"} {
		for _, mode := range [][]string{nil, {"VAULT_KMS_MODE=aws"}} {
			c, warnings := mustLoad(t, environ(append(mode, "VAULT_KMS_KEY_ID="+id, "VAULT_ALLOWED_IPS=::1", "VAULT_API_LISTEN=[::1]:0")...))
			if c.KMS.Mode != config.KMSAWS || c.KMS.KeyID != id || len(warnings) != 0 {
				t.Errorf("%s: %+v %v", id, c.KMS, warnings)
			}
		}
	}
	c, warnings := mustLoad(t, environ("VAULT_KMS_KEY_ID=alias/x", "VAULT_LOCAL_MASTER_KEY="+masterKey, "VAULT_ALLOWED_IPS=::1", "VAULT_API_LISTEN=[::1]:0"))
	if c.KMS.MasterKey != nil || len(warnings) != 1 || warnings[0].Text != "VAULT_LOCAL_MASTER_KEY is not used with VAULT_KMS_MODE=aws" {
		t.Errorf("%v %v", c.KMS.MasterKey, warnings)
	}
}

func TestLoadReportsEverything(t *testing.T) {
	_, warnings, err := config.Load(environ("VAULT_LOG_LEVEL=x", "VAULT_PG_PORT=x", "VAULT_API_LISTEN=x", "VAULT_KMS_MODE=local",
		"VAULT_LOCAL_MASTER_KEY=x", "VAULT_PG_PORTS=1"))
	var ce *config.Error
	if !errors.As(err, &ce) {
		t.Fatal(err)
	}
	var names []string
	for _, p := range ce.Problems {
		names = append(names, p.Name)
	}
	if d := cmp.Diff([]string{"VAULT_API_LISTEN", "VAULT_PG_PORT", "VAULT_LOCAL_MASTER_KEY", "VAULT_LOG_LEVEL"}, names); d != "" {
		t.Error(d)
	}
	if n := strings.Count(err.Error(), "\n"); n != 3 {
		t.Errorf("%d line ends in %q", n, err)
	}
	if len(warnings) != 3 {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestLoadWarnings(t *testing.T) {
	for _, tt := range []struct{ env, want string }{
		{"VAULT_ALOWED_IPS=10.0.0.1", "VAULT_ALOWED_IPS is not a setting of hyperion-vault and is ignored; the nearest known name is VAULT_ALLOWED_IPS"},
		{"VAULT_PG_HSOTS=x", "VAULT_PG_HSOTS is not a setting of hyperion-vault and is ignored; the nearest known name is VAULT_PG_HOSTS"},
		{"VAULT_TOKEN=hvs.x", "VAULT_TOKEN is not a setting of hyperion-vault and is ignored; the nearest known name is "},
		{"vault_pg_port=1", "vault_pg_port is not a setting of hyperion-vault and is ignored; the nearest known name is VAULT_PG_PORT"},
		{"VAULT_PG\x1b[31m=1", `"VAULT_PG\x1b[31m" is not a setting`},
		{"VAULT_" + strings.Repeat("A", 5000) + "=1", `"VAULT_` + strings.Repeat("A", 34) + `"... is not a setting`},
		{"VAULT_KMS_KEY_ID=alias/x", "VAULT_KMS_KEY_ID is not used with VAULT_KMS_MODE=local"},
	} {
		_, warnings := mustLoad(t, with(tt.env))
		if !slices.ContainsFunc(warnings, func(w config.Warning) bool { return strings.HasPrefix(w.String(), tt.want) }) {
			t.Errorf("%q gave %v", tt.env, warnings)
		}
	}
	for _, env := range []string{"VAULT_ADDR=http://x", "VAULT_ADMIN_TOKEN=hvt_x", "VAULTED=1", "AWS_REGION=x", "HOME=/", "=C:=x", "", "x"} {
		if _, warnings := mustLoad(t, with(env)); len(warnings) != 1 {
			t.Errorf("%q gave %v", env, warnings)
		}
	}
}

func TestLoadStore(t *testing.T) {
	c, warnings, err := config.LoadStore(environ("VAULT_PG_DBNAME=app", "VAULT_PG_PASSWORD=pw", "VAULT_API_LISTEN=nonsense",
		"VAULT_LOCAL_MASTER_KEY=nonsense", "VAULT_PG_USR=x"))
	if err != nil || c.Postgres.Database != "app" || string(c.Postgres.Password) != "pw" || c.NodeName == "" || c.KMS.MasterKey != nil {
		t.Errorf("%v %v", c, err)
	}
	if len(warnings) != 1 || warnings[0].Name != "VAULT_PG_USR" {
		t.Errorf("warnings: %v", warnings)
	}
	if _, _, err := config.LoadStore(environ("VAULT_PG_PORT=x")); err == nil {
		t.Error("a wrong port passed")
	}
}

// FuzzLoad feeds one value to every variable: an error that names the variable, or a Config; never a panic, never the
// secret.
func FuzzLoad(f *testing.F) {
	names := []string{"VAULT_API_LISTEN", "VAULT_ALLOWED_IPS", "VAULT_TRUST_PROXY", "VAULT_PG_HOSTS", "VAULT_PG_PORT", "VAULT_PG_USER",
		"VAULT_PG_PASSWORD", "VAULT_PG_DBNAME", "VAULT_KMS_MODE", "VAULT_KMS_KEY_ID", "VAULT_LOCAL_MASTER_KEY", "VAULT_ROTATION_POLL_SECS",
		"VAULT_DEK_CACHE_TTL_SECS", "VAULT_KMS_MAX_RETRIES", "VAULT_AGENT_SOCKET", "VAULT_AGENT_PEERS", "VAULT_MAX_VALUE_BYTES",
		"VAULT_NODE_NAME", "VAULT_READ_CONSISTENCY", "VAULT_LSN_WAIT_MS", "VAULT_WRITE_TIMEOUT_SECS", "VAULT_PG_SSLMODE", "VAULT_PG_SSLROOTCERT",
		"VAULT_ALLOWED_HOSTS", "VAULT_METRICS_ALLOWED_IPS", "VAULT_QUOTA_READS", "VAULT_PG_SSLCERT", "VAULT_PG_SSLKEY", "VAULT_API_TLS_CERT", "VAULT_API_TLS_KEY", "VAULT_API_TLS_CLIENT_CA", "VAULT_API_TLS_CLIENT_AUTH",
		"VAULT_REQUEST_TIMEOUT_SECS", "VAULT_SHUTDOWN_TIMEOUT_SECS", "VAULT_LOG_LEVEL", "VAULT_OTHER", "vault_x"}
	for i := range names {
		for _, v := range []string{"", "x", "10.0.0.0/8", "1", masterKey, "a,b", "\xff", "host:1"} {
			f.Add(byte(i), v)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, value string) {
		name := names[int(which)%len(names)]
		c, warnings, err := config.Load(environ(name+"="+value, "VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+masterKey))
		if (err != nil) == (c.Listen != nil) {
			t.Fatalf("error %v with Config %v", err, c)
		}
		text := fmt.Sprint(err, warnings)
		if err != nil && !strings.Contains(text, name) {
			t.Fatalf("%s is not named: %s", name, text)
		}
		secret := name == "VAULT_PG_PASSWORD" || name == "VAULT_LOCAL_MASTER_KEY"
		if secret && len(value) > 20 && strings.Contains(text, value) {
			t.Fatalf("shows a secret: %s", text)
		}
	})
}
