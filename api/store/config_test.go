package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/core"
)

func config(hosts ...string) Config {
	return Config{Hosts: hosts, User: "vault_service", Database: "app", Password: `p'a\ss word`}.withDefaults()
}

// describe returns the addresses and run-time parameters of a pool.
func describe(t *testing.T, p *pgcluster.Pool, err error) (hosts, params string) {
	t.Helper()
	must(t, err)
	t.Cleanup(func() { must(t, p.CloseWithin(context.Background())) })
	var all, set []string
	for _, x := range p.Servers() {
		all = append(all, fmt.Sprintf("%s:%d", x.Conn.Host, x.Conn.Port))
	}
	for k, v := range p.Servers()[len(all)-1].Conn.RuntimeParams {
		set = append(set, k+"="+v)
	}
	return strings.Join(all, " "), strings.Join(set, " ")
}

func TestPoolConfig(t *testing.T) {
	clearEnvironment(t)
	c := config("node1", "node2:6543", "[2001:db8::1]:7", "2001:db8::2", "/run/postgresql")
	r, rerr := c.reader(nil)
	w, werr := c.writer()
	for name, p := range map[string]*pgcluster.Pool{"reader": r, "writer": w} {
		got, params := describe(t, p, errors.Join(rerr, werr))
		if want := "node1:5432 node2:6543 2001:db8::1:7 2001:db8::2:5432 /run/postgresql:5432"; got != want {
			t.Errorf("%s: hosts %s", name, got)
		}
		for _, want := range map[string][]string{
			"reader": {"application_name=hyperion-vault-api", "client_encoding=UTF8", "search_path=pg_catalog", "default_transaction_read_only=on", "statement_timeout=5000", "lock_timeout=2500"},
			"writer": {"application_name=hyperion-vault-api", "client_encoding=UTF8", "search_path=pg_catalog", "statement_timeout=0", "lock_timeout=3000"},
		}[name] {
			if !strings.Contains(params, want) {
				t.Errorf("%s: %s lacks %s", name, params, want)
			}
		}
		for _, x := range p.Servers() {
			if x.Conn.Password != c.Password || x.Conn.ConnectTimeout != 2*time.Second || x.Conn.ValidateConnect != nil {
				t.Errorf("%s: %s has not what was set", name, x.Name)
			}
		}
	}
	if r.Writer || !w.Writer {
		t.Error("the reader takes any host, the writer only one that accepts writes")
	}
	if r.Config().MaxConns != defaultReaderConns || w.Config().MaxConns != defaultWriterConns {
		t.Error("a default is missing")
	}
}

func TestOddNamesArriveAsTheyAre(t *testing.T) {
	clearEnvironment(t)
	c := config("h")
	c.User, c.Database = `u'x\ host=evil`, `d' password=`
	p, err := c.connection("h", nil)
	must(t, err)
	if p.User != c.User || p.Database != c.Database || p.Host != "h" {
		t.Errorf("%q %q %q", p.User, p.Database, p.Host)
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
