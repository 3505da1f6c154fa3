package nodecheck

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/store"
)

// maxSkew is how far two clocks may be apart: the clock of the node that answers decides the end of a grace.
const maxSkew = 2 * time.Second

// checkDatabase checks the first of VAULT_PG_HOSTS, which is this node's server.
func (n *node) checkDatabase(ctx context.Context) Report {
	in, err := store.Inspect(ctx, service.StoreConfig(n.cfg))
	if err != nil {
		return finding(err.Error(), edit(n.o))
	}
	if in.Login != store.LoginOK {
		return n.judgeLogin(in)
	}
	return n.judgeSchema(in).and(n.judgeLibrary(in))
}

func (n *node) judgeLogin(in store.Inspection) Report {
	pg := n.cfg.Postgres
	role := identifier(pg.User)
	switch in.Login {
	case store.LoginRefused:
		return finding(fmt.Sprintf("role %s cannot log in to %s: %v", pg.User, place(in), in.Cause),
			n.execute(in, "SELECT "+literal("CREATE ROLE "+role)+" WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = "+literal(pg.User)+")"),
			n.sql(in, "postgres", "ALTER ROLE "+role+" LOGIN"),
			n.sql(in, "postgres", `\password `+role))
	case store.LoginNoDatabase:
		return finding(fmt.Sprintf("database %s does not exist on %s", pg.Database, place(in)), n.sql(in, "postgres", "CREATE DATABASE "+identifier(pg.Database)))
	case store.LoginNotAllowed:
		return finding(fmt.Sprintf("role %s may not connect to database %s", pg.User, pg.Database),
			n.sql(in, "postgres", "GRANT CONNECT ON DATABASE "+identifier(pg.Database)+" TO "+role))
	case store.LoginFailed:
		return finding(fmt.Sprintf("PostgreSQL on %s answers with an error: %v", place(in), in.Cause), "journalctl -n 50 -u 'postgresql*'")
	}
	return finding(fmt.Sprintf("no PostgreSQL answers on %s: %v", place(in), in.Cause), "systemctl start postgresql")
}

func (n *node) judgeSchema(in store.Inspection) Report {
	database := n.cfg.Postgres.Database
	where := ""
	if in.InRecovery {
		where = "; this server is a standby, so run the command on the primary's node"
	}
	want := n.o.Version
	if want == "dev" {
		want = ""
	}
	grant := n.sql(in, database, "SELECT vault.grant_service_role("+literal(identifier(n.cfg.Postgres.User))+")")
	switch {
	case in.Extension == "":
		return finding(fmt.Sprintf("extension hyperion_vault is not in database %s%s", database, where), n.sql(in, database, "CREATE EXTENSION hyperion_vault"), grant)
	case want != "" && older(in.Extension, want):
		return finding(fmt.Sprintf("extension hyperion_vault in database %s has version %s, and this program is made for %s%s", database, in.Extension, want, where),
			n.sql(in, database, "ALTER EXTENSION hyperion_vault UPDATE TO "+literal(want)))
	case !in.Granted:
		return finding(fmt.Sprintf("role %s may not use the vault schema of database %s%s", n.cfg.Postgres.User, database, where), grant)
	case in.Mismatch != nil: // of a schema that is as new as this program, or newer
		return finding(in.Mismatch.Error(), "apt-get install --only-upgrade hyperion-vault-api")
	}
	return Report{}
}

// older compares versions number by number.
func older(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, merr := strconv.Atoi(x[i])
		n, nerr := strconv.Atoi(y[i])
		if merr != nil || nerr != nil {
			return a < b
		}
		if m != n {
			return m < n
		}
	}
	return len(x) < len(y)
}

// preloadQuery makes the ALTER SYSTEM that adds the library to those that the configuration files name, which may be
// more than the running server has.
const preloadQuery = `SELECT 'ALTER SYSTEM SET shared_preload_libraries = ' || string_agg(quote_literal(trim(l)), ', ')
 FROM (SELECT l FROM unnest(string_to_array((SELECT setting FROM pg_file_settings WHERE name = 'shared_preload_libraries' AND error IS NULL
 ORDER BY seqno DESC LIMIT 1), ',')) l WHERE trim(l) NOT IN ('', 'hyperion_vault') UNION ALL SELECT 'hyperion_vault') x`

func (n *node) judgeLibrary(in store.Inspection) Report {
	database := n.cfg.Postgres.Database
	switch {
	case !in.Preloaded:
		return finding("library hyperion_vault is not in shared_preload_libraries of "+place(in)+": values are not kept out of the server's log, and nothing rotates",
			n.execute(in, strings.ReplaceAll(preloadQuery, "\n", "")), restartServer)
	case in.SupervisorDatabase != database:
		return finding(fmt.Sprintf("hyperion_vault.database of %s is %s, and this service serves %s: nothing rotates there", place(in), in.SupervisorDatabase, database),
			n.sql(in, "postgres", "ALTER SYSTEM SET hyperion_vault.database = "+literal(database)), restartServer)
	}
	return Report{}
}

// checkClocks compares the clock of this machine with that of every server that answers.
func (n *node) checkClocks(ctx context.Context) Report {
	var all Report
	for _, host := range n.cfg.Postgres.Hosts {
		c := service.StoreConfig(n.cfg)
		c.Hosts = []string{host}
		if in, err := store.Inspect(ctx, c); err == nil && in.Login == store.LoginOK {
			all = all.and(judgeClock(in))
		}
	}
	return all
}

func judgeClock(in store.Inspection) Report {
	apart := in.Skew.Abs()
	if apart-in.Doubt <= maxSkew {
		return Report{}
	}
	which := "ahead of"
	if in.Skew < 0 {
		which = "behind"
	}
	return finding(fmt.Sprintf("the clock of %s is %s %s this machine's", place(in), apart.Round(100*time.Millisecond), which), "timedatectl set-ntp true")
}

func place(in store.Inspection) string { return fmt.Sprintf("%s port %d", in.Host, in.Port) }
