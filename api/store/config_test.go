package store

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hyperiondb/hyperion-vault/core"
)

func config(hosts ...string) Config {
	return Config{Hosts: hosts, User: "vault_service", Database: "app", Password: `p'a\ss word`}.withDefaults()
}

// describe returns the addresses and run-time parameters of a pool.
func describe(p *pgxpool.Config, err error) (hosts string, params []string, _ error) {
	if err != nil {
		return "", nil, err
	}
	c := p.ConnConfig
	all := []string{fmt.Sprintf("%s:%d", c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		// Each host is there twice, with TLS preferred and without.
		if next := fmt.Sprintf("%s:%d", f.Host, f.Port); next != all[len(all)-1] {
			all = append(all, next)
		}
	}
	for k, v := range c.RuntimeParams {
		params = append(params, k+"="+v)
	}
	return strings.Join(all, " "), params, nil
}

func TestPoolConfig(t *testing.T) {
	clearEnvironment(t)
	c := config("node1", "node2:6543", "[2001:db8::1]:7", "2001:db8::2", "/run/postgresql")
	for name, make := range map[string]func() (string, []string, error){
		"reader": func() (string, []string, error) { return describe(c.reader()) },
		"writer": func() (string, []string, error) { return describe(c.writer()) },
	} {
		got, params, err := make()
		if err != nil {
			t.Fatal(err)
		}
		if want := "node1:5432 node2:6543 2001:db8::1:7 2001:db8::2:5432 /run/postgresql:5432"; got != want {
			t.Errorf("%s: hosts %s", name, got)
		}
		text := strings.Join(params, " ")
		for _, want := range map[string][]string{
			"reader": {"application_name=hyperion-vault-api", "client_encoding=UTF8", "search_path=pg_catalog", "default_transaction_read_only=on", "statement_timeout=5000"},
			"writer": {"application_name=hyperion-vault-api", "client_encoding=UTF8", "search_path=pg_catalog", "statement_timeout=0", "lock_timeout=3000"},
		}[name] {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s lacks %s", name, text, want)
			}
		}
	}
	r, err := c.reader()
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.writer()
	if err != nil {
		t.Fatal(err)
	}
	if r.ConnConfig.ValidateConnect != nil || w.ConnConfig.ValidateConnect == nil {
		t.Error("the reader takes any host, the writer only one that accepts writes")
	}
	if r.ConnConfig.Password != c.Password || w.ConnConfig.Password != c.Password {
		t.Error("the password did not arrive as it is")
	}
	if r.MaxConns != defaultReaderConns || w.MaxConns != defaultWriterConns || r.PingTimeout == 0 || r.ConnConfig.ConnectTimeout != 3*time.Second {
		t.Error("a default is missing")
	}
}

func TestOddNamesArriveAsTheyAre(t *testing.T) {
	clearEnvironment(t)
	c := config("h")
	c.User, c.Database = `u'x\ host=evil`, `d' password=`
	p, err := c.writer()
	if err != nil {
		t.Fatal(err)
	}
	if p.ConnConfig.User != c.User || p.ConnConfig.Database != c.Database || p.ConnConfig.Host != "h" {
		t.Errorf("%q %q %q", p.ConnConfig.User, p.ConnConfig.Database, p.ConnConfig.Host)
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no host":     func(c *Config) { c.Hosts = nil },
		"empty host":  func(c *Config) { c.Hosts = []string{""} },
		"list":        func(c *Config) { c.Hosts = []string{"a,b"} },
		"space":       func(c *Config) { c.Hosts = []string{"a b"} },
		"port word":   func(c *Config) { c.Hosts = []string{"a:x"} },
		"port zero":   func(c *Config) { c.Hosts = []string{"a:0"} },
		"port big":    func(c *Config) { c.Hosts = []string{"a:65536"} },
		"no port":     func(c *Config) { c.Hosts = []string{"a:"} },
		"no user":     func(c *Config) { c.User = "" },
		"no database": func(c *Config) { c.Database = "" },
		"zero byte":   func(c *Config) { c.User = "a\x00" },
	} {
		t.Run(name, func(t *testing.T) {
			c := config("node1")
			change(&c)
			_, err := Open(t.Context(), c)
			if core.CodeOf(err) != core.Invalid {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), c.Password) {
				t.Error("the error shows the password")
			}
		})
	}
}

func TestConfigNeverPrintsThePassword(t *testing.T) {
	c := config("node1")
	var out strings.Builder
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", c)
	fmt.Fprintf(&out, "%v %+v %#v %s %q", c, c, &c, c, c)
	if strings.Contains(out.String(), "word") {
		t.Error(out.String())
	}
}
