package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const (
	manyNames   = 100_000
	memoryLimit = 50 << 20 // as docs/CLI.md promises
)

// fillSQL copies the row of one secret under many names.
const fillSQL = `INSERT INTO vault.secrets SELECT (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(),
	'name', 'many/' || to_char(i / 100, 'FM0000') || '/' || i))).* FROM vault.secrets s, generate_series(1, %d) i WHERE s.name = 'seed'`

// build compiles the command as it is shipped.
func build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hyperion-vault")
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// vaultOfMany is a vault with many names, and the command as it is shipped.
func vaultOfMany(t testing.TB) (s *vaulttest.Server, call func(args ...string) *exec.Cmd) {
	t.Helper()
	db := vaulttest.NewDB(t)
	s = vaulttest.NewServer(t, db, "VAULT_LOG_LEVEL=error")
	s.MustCreate(t, "seed", "value")
	db.MustExec(t, fmt.Sprintf(fillSQL, manyNames))
	db.MustExec(t, "ANALYZE vault.secrets")
	path := build(t)
	return s, func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), path, args...)
		c.Env = []string{"VAULT_ADDR=" + s.URL, "VAULT_TOKEN=" + s.AdminToken}
		return c
	}
}

// TestListsAsItArrives: the first line is there before most of the list was asked for, and no more than a part is ever kept.
func TestListsAsItArrives(t *testing.T) {
	s, call := vaultOfMany(t)
	c := call("ls")
	out, err := c.StdoutPipe()
	pgtest.Must(t, err)
	pgtest.Must(t, c.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("no line")
	}
	if pages := pagesOf(t, s); pages == 0 || pages > manyNames/1000/2 {
		t.Errorf("%d pages were asked for before the first line was read", pages)
	}
	n, peak := 1, 0
	for lines.Scan() {
		if n++; n%5000 == 0 {
			peak = max(peak, peakMemory(t, c.Process.Pid))
		}
	}
	_, _ = io.Copy(io.Discard, out)
	if err := c.Wait(); err != nil || n != manyNames+1 {
		t.Fatalf("%d names: %v", n, err)
	}
	if peak == 0 || peak > memoryLimit {
		t.Errorf("ls needs %d bytes", peak)
	}
}

// pagesOf returns how many pages of a list the server has answered.
func pagesOf(t *testing.T, s *vaulttest.Server) (n int) {
	t.Helper()
	_, metrics := s.Do(t, "GET", "/metrics", nil)
	_, rest, _ := strings.Cut(metrics, "\nhyperion_vault_http_requests_total{method=\"GET\",route=\"/v1/secrets\",status=\"200\"} ")
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// BenchmarkGet is one value from the start of the command to its exit.
func BenchmarkGet(b *testing.B) {
	_, call := vaultOfMany(b)
	for b.Loop() {
		if out, err := call("get", "seed").Output(); err != nil || string(out) != "value" {
			b.Fatal(string(out), err)
		}
	}
}

// BenchmarkFirstLine is the time from the start of ls to its first line.
func BenchmarkFirstLine(b *testing.B) {
	_, call := vaultOfMany(b)
	for b.Loop() {
		c := call("ls")
		out, err := c.StdoutPipe()
		pgtest.Must(b, err)
		pgtest.Must(b, c.Start())
		if !bufio.NewScanner(out).Scan() {
			b.Fatal("no line")
		}
		pgtest.Must(b, c.Process.Kill())
		_ = c.Wait() // it was killed: the rest of the list would take a hundred times as long
	}
}

// peakMemory returns the most that a process has had in memory. Its rusage would count the process that forked it.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kilobytes := 0
	_, _ = fmt.Sscan(rest, &kilobytes)
	return kilobytes << 10
}
