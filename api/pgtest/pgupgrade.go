package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// MustUpgrade stops the server, moves its data to the PostgreSQL of another pg_config by pg_upgrade, and starts it
// there. An empty pgConfig means the PostgreSQL that tests run on.
func (c *Cluster) MustUpgrade(t testing.TB, pgConfig string) {
	t.Helper()
	to, err := installationOf(pgConfig)
	if err == nil {
		err = errors.Join(c.stop(syscall.SIGINT), c.pgUpgrade(to))
	}
	if err == nil {
		err = c.start()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) pgUpgrade(to *installation) error {
	from, old := c.i, c.Data()+".old"
	if err := os.Rename(c.Data(), old); err != nil {
		return err
	}
	args := []string{"--no-sync", "-A", "trust", "-U", Superuser, "-E", "UTF8", "--locale=C", "-D", c.Data()}
	if out, err := to.command("initdb", "--help").Output(); err == nil && strings.Contains(string(out), "--no-data-checksums") {
		args = append(args, "--no-data-checksums") // both clusters must agree, and the defaults differ
	}
	if out, err := to.command("initdb", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	// Its settings apply during the upgrade as well: the library is preloaded then, as an operator has it.
	settings, err := exec.Command("tail", "-n", "30", filepath.Join(old, "postgresql.conf")).Output()
	if err != nil {
		return err
	}
	if err := appendFile(filepath.Join(c.Data(), "postgresql.conf"), "\n"+string(settings)); err != nil {
		return err
	}
	upgrade := to.command("pg_upgrade", "--no-sync", "-U", Superuser, "-b", from.bin, "-B", to.bin, "-d", old, "-D", c.Data(), "-s", c.dir)
	upgrade.Dir = c.dir // where it writes its scripts
	if out, err := upgrade.CombinedOutput(); err != nil {
		logs, _ := filepath.Glob(filepath.Join(c.Data(), "pg_upgrade_output.d", "*", "log", "*dump*.log")) // no error: the pattern is valid
		for _, log := range logs {
			b, _ := os.ReadFile(log) // it is only to help
			out = append(out, b[max(0, len(b)-2000):]...)
		}
		return fmt.Errorf("pg_upgrade: %w: %s", err, out)
	}
	c.i = to
	return os.RemoveAll(old)
}
