package main

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
)

// secured is a server that also listens for https, with an authority of its own.
type secured struct {
	*vaulttest.Server
	https, ca string
}

func newSecured(t *testing.T, notAfter time.Time) *secured {
	t.Helper()
	dir, ca := t.TempDir(), pki.NewCA(t)
	p := ca.Issue(t, "server", notAfter)
	s := vaulttest.NewServer(t, vaulttest.NewDB(t), "VAULT_API_LISTEN=http://127.0.0.1:0,https://127.0.0.1:0",
		"VAULT_API_TLS_CERT="+pki.Write(t, filepath.Join(dir, "cert"), p.Cert), "VAULT_API_TLS_KEY="+pki.Write(t, filepath.Join(dir, "key"), p.Key))
	return &secured{s, regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`).FindString(s.Log()), pki.Write(t, filepath.Join(dir, "ca"), ca.PEM)}
}

// TestImportOverTLS moves between two servers of the protocol that have authorities of their own, with tokens from files.
func TestImportOverTLS(t *testing.T) {
	source, target := newSecured(t, time.Now().Add(time.Hour)), newSecured(t, time.Now().Add(time.Hour))
	for i := range 60 {
		must(t, source.Server, "PUT", fmt.Sprintf("data/app/%02d", i), value(1))
		must(t, source.Server, "PUT", fmt.Sprintf("data/app/%02d", i), value(2))
	}
	p := &pair{source: source.Server, target: target.Server, env: []string{"VAULT_ADDR=" + source.https, "VAULT_CACERT=" + source.ca}}
	tokenFile := private(t, source.AdminToken)
	args := func(address, ca string) []string {
		all := []string{"import", "--address", address, "--token-file", private(t, target.AdminToken), "--from", "vault", "--source-token-file", tokenFile}
		if ca != "" {
			all = append(all, "--ca-file", ca)
		}
		return all
	}
	fails := func(want, address, ca string) {
		t.Helper()
		p.flags = args(address, ca)
		_, stderr := p.run(t, 1)
		has(t, stderr, want)
	}
	fails("signed by unknown authority", target.https, "")
	fails("signed by unknown authority", target.https, source.ca)
	fails("has no certificate", target.https, tokenFile)
	fails("no such file", target.https, "/none")
	fails("must begin with https://", "http://vault.example.org:1", target.ca)
	fails("cannot be reached", strings.Replace(target.URL, "http", "https", 1), target.ca) // it speaks no TLS
	expired := newSecured(t, time.Now().Add(-time.Minute))
	fails("expired", expired.https, expired.ca)
	env := p.env
	p.env = []string{"VAULT_ADDR=" + source.https, "VAULT_CACERT=" + target.ca}
	fails("signed by unknown authority", target.https, target.ca)
	p.env = env

	p.interrupt(t, args(target.https, target.ca))
	p.flags = args(cutting(t, target.https), target.ca) // the network breaks in the middle, again and again
	for range 5 {
		if code, _, stderr := call(t, p.env, p.flags...); code != 1 || strings.Contains(stderr, "not imported") {
			t.Errorf("exit %d: %s", code, stderr)
		}
	}
	p.flags = args(target.https, target.ca)
	p.run(t, 0)
	stdout, _ := p.run(t, 0)
	has(t, stdout, "imported: 0 (versions: 0)\nthere already: 60\n")
	for i := range 60 {
		has(t, must(t, target.Server, "GET", fmt.Sprintf("data/app/%02d", i), ""), marker+`-2"`, `"version":2`)
	}
}

// interrupt kills the program in the middle, without warning and with a signal that it may answer.
func (p *pair) interrupt(t *testing.T, args []string) {
	t.Helper()
	for n, s := range map[int]syscall.Signal{5: syscall.SIGKILL, 12: syscall.SIGTERM} {
		run := launch(t, p.env, args...)
		run.waitLine(t, fmt.Sprintf("app/%02d: ", n))
		run.signal(t, s)
		<-run.exited
		if s == syscall.SIGTERM && (run.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(run.stdout.String(), "imported: ")) {
			t.Errorf("after SIGTERM: %v\n%s", run.cmd.ProcessState, &run.stdout)
		}
	}
	if status, _ := p.target.Do(t, "GET", "/v1/secret/data/app/59", nil); status != 404 {
		t.Fatalf("app/59: %d: nothing was interrupted", status)
	}
}

// waitLine waits for a line of standard error.
func (p *process) waitLine(t *testing.T, start string) {
	t.Helper()
	timer := time.NewTimer(pgtest.Patience)
	defer timer.Stop()
	for {
		p.mu.Lock()
		found, grown := slices.ContainsFunc(p.lines, func(l string) bool { return strings.HasPrefix(l, start) }), p.grown
		p.mu.Unlock()
		if found {
			return
		}
		select {
		case <-grown:
		case <-p.exited:
			t.Fatalf("exited without %q:\n%s", start, p.log())
		case <-timer.C:
			t.Fatalf("no %q within %s", start, pgtest.Patience)
		}
	}
}

// cutting passes connections on to a server, and resets each after some more bytes than the one before.
func cutting(t *testing.T, to string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var limit atomic.Int64
	limit.Store(2000)
	go func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", strings.TrimPrefix(to, "https://"))
			if err != nil {
				_ = from.Close()
				return
			}
			go func() {
				_, _ = io.CopyN(from, back, limit.Add(3000))
				_ = from.(*net.TCPConn).SetLinger(0)
				_ = from.Close()
				_ = back.Close()
			}()
			go func() { _, _ = io.Copy(back, from); _ = back.Close() }()
		}
	}()
	return "https://" + ln.Addr().String()
}
