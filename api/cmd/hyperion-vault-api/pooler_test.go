package main

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// TestServePooler: a connection pooler in place of PostgreSQL ends the start, with its address and what to do.
func TestServePooler(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go refuse(c)
		}
	}()
	env := lonely(t, "VAULT_PG_SSLMODE=disable")
	for i, kv := range env {
		if strings.HasPrefix(kv, "VAULT_PG_HOSTS=") {
			env[i] = "VAULT_PG_HOSTS=" + ln.Addr().String()
		}
	}
	p := launch(t, env)
	if code := p.exit(t); code == 0 {
		t.Error("it starts")
	}
	if log := p.log(); !strings.Contains(log, "VAULT_PG_HOSTS: at "+ln.Addr().String()+" a connection pooler answers") {
		t.Error(log)
	}
	noCanary(t, p.log())
}

// refuse answers as PgBouncer does when it is asked for settings that it does not know.
func refuse(c net.Conn) {
	defer c.Close()
	b := pgproto3.NewBackend(c, c)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "08P01", Message: "unsupported startup parameter: lock_timeout"})
	_ = b.Flush()
	_, _ = io.Copy(io.Discard, c)
}
