package store

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// pgbouncer starts one before the server and returns its address.
func (s *server) pgbouncer(mode, more string) string {
	s.t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin, err = exec.LookPath("/usr/sbin/pgbouncer") // not in every PATH
	}
	if err != nil {
		skip := s.t.Skip
		if pgtest.LoadEnv().RequirePostgres {
			skip = s.t.Fatal
		}
		skip("pgbouncer is not installed: ", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	must(s.t, ln.Close())
	dir := s.MustMakeDir(s.t)
	ini, users := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "users")
	must(s.t, os.WriteFile(users, []byte(`"vault_service" ""`+"\n"), 0o644))
	must(s.t, os.WriteFile(ini, fmt.Appendf(nil, "[databases]\n* = host=%s port=5432\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\nunix_socket_dir=\n"+
		"auth_type=trust\nauth_file=%s\npool_mode=%s\n%s\n", s.dir, port, users, mode, more), 0o644))
	cmd := s.Command(bin, "-q", ini)
	must(s.t, cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	at := fmt.Sprintf("127.0.0.1:%d", port)
	for range 200 {
		c, err := net.Dial("tcp", at)
		if err == nil {
			_ = c.Close()
			return at
		}
		<-time.After(25 * time.Millisecond)
	}
	s.t.Fatal("pgbouncer does not listen")
	return ""
}

// TestPoolers: whatever its mode, and whether it passes over what a session asks for, a pooler is found at the start, and
// later refused at once with its name by everything that connects; PostgreSQL itself is not mistaken for one.
func TestPoolers(t *testing.T) {
	s := newServer(t)
	const passOver = "ignore_startup_parameters = extra_float_digits,search_path,statement_timeout,lock_timeout,default_transaction_read_only,default_transaction_isolation"
	for name, c := range map[string]struct{ mode, more string }{
		"transaction": {"transaction", passOver}, "session": {"session", passOver}, "statement": {"statement", passOver},
		"one that refuses settings": {"transaction", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inner := *s
			inner.t = t
			at := inner.pgbouncer(c.mode, c.more)
			d := inner.openWith(func(c *Config) { c.WriteTimeout = time.Minute }, at)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := d.FindPooler(ctx)
			if core.CodeOf(err) != "" && !strings.Contains(err.Error(), at) || err == nil {
				t.Errorf("at the start: %v", err)
			}
			for op, err := range map[string]error{
				"read":    only(sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})),
				"change":  only(d.CreateSecret(ctx, newSecret("a"), origin("x"))),
				"listen":  d.Listen(ctx, func(string) { t.Error("it listens") }),
				"journal": only(d.OpenJournal(ctx)),
			} {
				if core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), "must name PostgreSQL itself") {
					t.Errorf("%s: %q: %v", op, core.MessageOf(err), err)
				}
			}
			if n := value[int64](s, "SELECT count(*) FROM vault.secrets"); n != 0 {
				t.Errorf("%d secrets were made", n)
			}
		})
	}
	d := s.open()
	must(t, d.FindPooler(t.Context()))
	w := s.wire() // something that passes bytes on is no pooler
	must(t, s.open(w.host()).FindPooler(t.Context()))
	away := s.openWith(func(*Config) {}, "127.0.0.1:1")
	must(t, away.FindPooler(context.Background()))
}
