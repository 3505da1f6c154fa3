package store

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// socat starts one that passes on what comes at listen to the server, and returns when at, an address, answers.
func (s *server) socat(listen, network, at string) {
	s.t.Helper()
	bin, err := exec.LookPath("socat")
	if err != nil {
		skip := s.t.Skip
		if pgtest.LoadEnv().RequirePostgres {
			skip = s.t.Fatal
		}
		skip("socat is not installed: ", err)
	}
	cmd := exec.Command(bin, listen, "UNIX-CONNECT:"+filepath.Join(s.dir, ".s.PGSQL.5432"))
	must(s.t, cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // its children end with their connections
		_ = cmd.Wait()
	})
	for range 400 {
		c, err := net.Dial(network, at)
		if err == nil {
			_ = c.Close()
			return
		}
		<-time.After(25 * time.Millisecond)
	}
	s.t.Fatal("socat does not listen")
}

// TestPassingOnIsNoPooler: a program that passes on bytes, over TCP or at a unix socket, is not mistaken for a pooler, and
// everything works through it.
func TestPassingOnIsNoPooler(t *testing.T) {
	s := newServer(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	must(t, ln.Close())
	dir := s.MustMakeDir(t)
	tcp, socket := fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(dir, ".s.PGSQL.5432")
	s.socat(fmt.Sprintf("TCP-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr", port), "tcp", tcp)
	s.socat("UNIX-LISTEN:"+socket+",fork", "unix", socket)
	for name, host := range map[string]string{"tcp": tcp, "socket": dir, "own": s.dir} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			inner := *s
			inner.t = t
			d := inner.open(host)
			must(t, d.FindPooler(ctx))
			n := newSecret("by/" + name)
			must(t, only(d.CreateSecret(ctx, n, origin("x"))))
			got, err := sealedRows(d, ctx, []core.Name{n.Name}, 0, vault.Freshness{Primary: true})
			must(t, err)
			if len(got) != 1 {
				t.Errorf("%d secrets are read", len(got))
			}
			journal, err := d.OpenJournal(ctx)
			must(t, err)
			journal.Close()
			must(t, d.CheckWriter(ctx))
		})
	}
}
