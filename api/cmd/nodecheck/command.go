package nodecheck

import (
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/store"
)

// quote makes one word of a shell command.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@=+,%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// literal and identifier are as in SQL.
func literal(s string) string    { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// psql is the beginning of a command that queries the server of in as its superuser.
func (n *node) psql(in store.Inspection, database string) string {
	words := []string{"runuser", "-u", "postgres", "--", "psql", "-X"}
	if !n.root {
		words = []string{"sudo", "-u", "postgres", "psql", "-X"}
	}
	if path.IsAbs(in.Host) || !isLoopback(in.Host) {
		words = append(words, "-h", quote(in.Host))
	}
	words = append(words, "-p", strconv.Itoa(in.Port), "-d", quote(databaseName(database)))
	return strings.Join(words, " ")
}

// databaseName is a database as psql's -d has it, which takes some names for connection strings.
func databaseName(s string) string {
	if !strings.Contains(s, "=") && !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") {
		return s
	}
	return "dbname='" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// sql is a command that runs one statement.
func (n *node) sql(in store.Inspection, database, statement string) string {
	return n.psql(in, database) + " -c " + quote(statement)
}

// execute is a command that runs the statements that a query makes: ALTER SYSTEM, for one, takes no expression.
func (n *node) execute(in store.Inspection, query string) string {
	return `printf '%s \\gexec\n' ` + quote(query) + " | " + n.psql(in, "postgres")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// restartServer is how a change of shared_preload_libraries takes effect.
const restartServer = "systemctl restart postgresql"
