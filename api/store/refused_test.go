package store

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// refusing is a server that ends each connection with an error, as one whose disk is full.
func refusing(t *testing.T, state string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hvr") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b := pgproto3.NewBackend(c, c)
			if _, err := b.ReceiveStartupMessage(); err == nil {
				b.Send(&pgproto3.ErrorResponse{
					Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: state, Message: "could not write init file: No space left on device",
				})
				_ = b.Flush()
			}
			_ = c.Close()
		}
	}()
	return dir
}

// TestRefusedConnection: a server that refuses the connection is away, and the answer says what it says.
func TestRefusedConnection(t *testing.T) {
	for state, part := range map[string]string{
		"53100": "disk is full", "XX000": "ended the session: its log says why", "58030": "input or output error", "53300": "takes no more connections",
	} {
		t.Run(state, func(t *testing.T) {
			d, err := Open(t.Context(), Config{
				Hosts: []string{refusing(t, state)}, User: "vault_service", Database: "app", RequestTimeout: time.Second, WriteTimeout: 2 * time.Second,
			})
			must(t, err)
			t.Cleanup(func() { must(t, d.Close(context.Background())) })
			_, readErr := sealedRows(d, t.Context(), []core.Name{"x"}, 0, vault.Freshness{})
			for what, err := range map[string]error{
				"a change": only(d.CreateSecret(t.Context(), newSecret("x"), origin("x"))), "readiness": d.CheckWriter(t.Context()), "a read": readErr,
			} {
				if core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), part) {
					t.Errorf("%s is answered %v", what, err)
				}
			}
		})
	}
}
