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
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const (
	manyNames = 100_000
	// What docs/CLI.md promises.
	getLimit       = 30 * time.Millisecond
	firstLineLimit = 100 * time.Millisecond
	memoryLimit    = 50 << 20
)

// fillSQL copies the row of one secret under many names.
const fillSQL = `INSERT INTO vault.secrets SELECT (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(),
	'name', 'many/' || to_char(i / 100, 'FM0000') || '/' || i))).* FROM vault.secrets s, generate_series(1, %d) i WHERE s.name = 'seed'`

// build compiles the command as it is shipped.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hyperion-vault")
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestSpeed takes the best of several runs, because the machine may be busy.
func TestSpeed(t *testing.T) {
	db := vaulttest.NewDB(t)
	s := vaulttest.NewServer(t, db, "VAULT_LOG_LEVEL=error")
	s.MustCreate(t, "seed", "value")
	db.MustExec(t, fmt.Sprintf(fillSQL, manyNames))
	db.MustExec(t, "ANALYZE vault.secrets")
	path := build(t)
	call := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), path, args...)
		c.Env = []string{"VAULT_ADDR=" + s.URL, "VAULT_TOKEN=" + s.AdminToken}
		return c
	}
	best(t, "get, from start to exit", getLimit, 30, func() time.Duration {
		start := time.Now()
		if out, err := call("get", "seed").Output(); err != nil || string(out) != "value" {
			t.Fatal(string(out), err)
		}
		return time.Since(start)
	})
	best(t, "ls, from start to the first line", firstLineLimit, 3, func() time.Duration {
		c := call("ls")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("no line")
		}
		took, n, peak := time.Since(start), 1, 0
		for lines.Scan() {
			if n++; n%5000 == 0 {
				peak = max(peak, peakMemory(t, c.Process.Pid))
			}
		}
		_, _ = io.Copy(io.Discard, out)
		if err := c.Wait(); err != nil || n != manyNames+1 {
			t.Fatalf("%d names: %v", n, err)
		}
		t.Logf("ls of %d names: %v, %d MB", n, time.Since(start).Round(time.Millisecond), peak>>20)
		if peak == 0 || peak > memoryLimit {
			t.Errorf("ls needs %d bytes", peak)
		}
		return took
	})
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

func best(t *testing.T, what string, limit time.Duration, runs int, measure func() time.Duration) {
	t.Helper()
	least := time.Hour
	for range runs {
		least = min(least, measure())
	}
	t.Logf("%s: %v at best of %d", what, least.Round(100*time.Microsecond), runs)
	if least > limit {
		t.Errorf("%s takes %v, more than %v", what, least, limit)
	}
}
