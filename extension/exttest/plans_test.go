package exttest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// explained makes the server show the plan of every statement, those within functions included, with the rows that each
// node has read.
var explained = []string{"session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0",
	"auto_explain.log_nested_statements = on", "auto_explain.log_analyze = on", "auto_explain.log_timing = off",
	"auto_explain.log_format = json", "track_functions = all", "autovacuum = off", "hyperion_vault.rotation_enabled = off"}

// muchRead is a part of a statement that may read a table to its end, and why that is right. Without a name it may read any.
type muchRead struct{ part, table, why string }

var readsMuch = []muchRead{
	{part: "vault.template_visible(vault.outer_role()", why: "all templates are listed"},
	{part: "a.secrets - m.secrets", why: "all secrets are counted once, when the supervisor has started"},
	{part: "vault.has_prefix(l.secret_name, audit.name_prefix)", why: "the audit is read by time, also for the records of a name"},
	{part: "c.xid >= counted_changes.since", why: "what has changed since the last count is counted"},
	{part: "-c.leases FROM vault.lease_counts c", why: "all leases are counted once an hour"},
	{part: "x.issued_at > stamp + interval '1 minute'", why: "leases of a clock that was ahead are searched for once an hour"},
	{part: "WHERE (SELECT t.name FROM vault.role_templates t WHERE t.name = c.template) IS NULL", why: "counts of templates that are gone are searched for once an hour"},
	{part: "SELECT coalesce(sum(c.leases), 0) FROM vault.lease_counts c", table: "lease_counts", why: "a template has a few rows with its count"},
	{part: "count(*) FILTER (WHERE b.drift IS NOT NULL)", table: "role_bindings", why: "the status counts the bound roles"},
	{part: "coalesce(vault.role_drift(b), 'ok')", why: "all bound roles are listed"},
	{part: "ORDER BY g.grantee::text COLLATE", table: "access_grants", why: "all grants are listed"},
	{part: "ORDER BY vault.missing_name(g.holder) COLLATE", table: "access_grants", why: "all grants of missing roles are listed"},
	{part: "pg_has_role(granted_ranges.caller, g.grantee, 'USAGE')", table: "access_grants", why: "10,000 grants take 3 ms, and to look for the caller's takes longer where there are few"},
	{part: "g.action = who_may.action", table: "access_grants", why: "an administrator rarely asks who may do something"},
	{part: "explain_role.caller AND r.rolsuper", table: "access_grants", why: "an administrator rarely asks why a role may"},
	{part: "g.grantee = revoke_entry_points.role", table: "access_grants", why: "a revocation looks for what the role still has"},
}

// TestPlans sends the statements of the product to a filled vault. None of them reads a table to its end: neither by a
// sequential scan nor by an index of which it uses most. A function that reads tables and is not called fails the test too.
func TestPlans(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it fills a vault")
	}
	c := startCluster(t, true, explained...)
	b := newBench(t, c)
	for _, sql := range filledSQL {
		b.exec(sql)
	}
	grown := grownTables(b.session)
	plans := b.plansOf(t, planned, 7)
	if len(plans) < 7*len(planned) {
		t.Fatalf("there are only %d plans", len(plans))
	}
	var faults []string
	for _, p := range plans {
		for _, fault := range p.Plan.faults(p.mustFind(grown)) {
			faults = append(faults, fmt.Sprintf("%s:\n%.600s", fault, p.Query))
		}
	}
	slices.Sort(faults)
	for _, f := range slices.Compact(faults) {
		t.Error(f)
	}
	checkSent(b.session, plans)
	checkFilled(b.session, grown)
	for _, f := range uncalled(b.session) {
		t.Errorf("no statement here calls vault.%s: add one, or say in notPlanned why not", f)
	}
}

// youngReads are the reads of single secrets, as the API sends them.
var youngReads = []string{
	`SELECT * FROM vault.read_as(ARRAY[NULL, sha256('7'::bytea)], '{127.0.0.1,127.0.0.1}', '{NULL,NULL}', '{1,2}', '{fill/2/2,fill/1/$i}', NULL)`,
	`SELECT * FROM vault.read_sealed('{fill/1/$i,fill/2/2}', NULL)`,
	`SELECT * FROM vault.read_verifiable('fill/1/1')`,
	`SELECT * FROM vault.describe_state('fill/1/1')`,
	`SELECT vault.decide(NULL, '127.0.0.1', NULL, 'read', 'fill/1/1')`,
}

// young reports whether TestPlansOfAYoungVault checks the plans of a statement. The passes of the supervisor and the status are not
// waited for, and PostgreSQL analyzes the tables a minute after they were filled.
func young(sql string) bool {
	return !strings.Contains(sql, "vault.supervise(") && !strings.Contains(sql, "vault.prolong_roles(") && !strings.Contains(sql, "vault.status()")
}

// TestPlansOfAYoungVault sends the statements of the product to an empty vault, often enough for the plans to be kept, and
// fills it in the same session. The kept plans still find each row by index: until PostgreSQL has analyzed the tables, it
// has no other.
func TestPlansOfAYoungVault(t *testing.T) {
	t.Parallel()
	b := newBench(t, startCluster(t, true, explained...))
	fill := filledSQL[:len(filledSQL)-1]
	plans := b.plansSent(t, fill, slices.Concat(youngReads, planned))
	b.exec("ANALYZE")
	grown := grownTables(b.session)
	var faults []string
	for _, p := range plans {
		for _, fault := range p.Plan.faults(p.mustFind(grown)) {
			faults = append(faults, fmt.Sprintf("%s:\n%.600s", fault, p.Query))
		}
	}
	slices.Sort(faults)
	for _, f := range slices.Compact(faults) {
		t.Error(f)
	}
}

// plansSent sends the statements to an empty vault seven times, then what fills it, then the statements once more. It returns
// the plans of that last time. In the empty vault some of them fail for want of what they name.
func (b *bench) plansSent(t *testing.T, fill, statements []string) []loggedPlan {
	t.Helper()
	const times = 7
	s, plans := b.explainedSession(t)
	for i := 1; i <= times; i++ {
		for _, sql := range statements {
			_ = s.try(numbered(sql, i))
		}
	}
	for _, sql := range fill {
		s.exec(sql)
	}
	var kept []loggedPlan
	for _, sql := range statements {
		*plans = nil
		s.exec(numbered(sql, times+1))
		if young(sql) {
			kept = append(kept, *plans...)
		}
	}
	return kept
}

// plansOf sends the statements so many times, in turn, and returns their plans.
func (b *bench) plansOf(t *testing.T, statements []string, times int) []loggedPlan {
	t.Helper()
	s, plans := b.explainedSession(t)
	for i := 1; i <= times; i++ {
		for _, sql := range statements {
			s.exec(numbered(sql, i))
		}
	}
	return *plans
}

func numbered(sql string, i int) string { return strings.ReplaceAll(sql, "$i", strconv.Itoa(i)) }

// explainedSession makes a session, and the list that the plans of its statements are added to. They are shown to the
// client: in the log the library withholds them.
func (b *bench) explainedSession(t *testing.T) (*session, *[]loggedPlan) {
	t.Helper()
	conf, err := pgx.ParseConfig(b.c.DSN(b.db, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	var plans []loggedPlan
	conf.RuntimeParams["client_min_messages"] = "log"
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		_, plan, found := strings.Cut(n.Message, "  plan:\n")
		if !found {
			return
		}
		var p loggedPlan
		if err := json.Unmarshal([]byte(plan), &p); err != nil {
			t.Errorf("a plan is not understood: %v\n%.500s", err, plan)
		}
		plans = append(plans, p)
	}
	conn, err := pgx.ConnectConfig(bounded(t), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return &session{Conn: conn, t: t}, &plans
}

// notPlanned are functions that no statement of this test calls, and why.
var notPlanned = map[string]string{
	"adopt_grants": admin, "forget_grants": admin, "prune_audit": "it deletes what it reads, a batch at a time",
	"put_login_method": admin, "delete_login_method": admin, "put_login_role": admin, "delete_login_role": admin,
	"delete_login_roles": admin, "end_batch_tokens": admin, "found_login_role": admin, "list_login_roles": admin,
	"set_password_with_verifier": admin, "replace_with_verifier": "a login calls it once after the cost of a hash is raised, for one row by its key",
	"put_secret_id": admin, "delete_secret_id": admin, "put_token_key": admin,
	"list_all_tokens": "it lists all", "list_tokens": protocol1, "active_tokens": protocol1, "audit_page": protocol1,
	"create_token": protocol1, "revoke_token": protocol1, // those with the arguments of then
	"empty_audit_part": "it moves what stays of a part before it empties that as a whole",
	"count_wrapped":    "it counts the versions that a rewrap has yet to reach, for the administrator of one",
	"release_rotation": "it finds its job as fail_rotation does", "raise_missing": "it only words an error",
	"require_condition": "it only words an error", "set_role_password": noStatement, "begin_grace": noStatement,
}

const (
	admin     = "an administrator rarely calls it, for tables of few rows"
	protocol1 = "only a program of the release before calls it"
	// decision 200
	noStatement = "givepassword.c does the same without a statement, unless something is not as usual"
)

// uncalled are the functions that name a table of the vault and were not called. Those that the planner expands are not
// counted by PostgreSQL; what they are expanded into is seen in the plans.
func uncalled(s *session) (out []string) {
	s.exec("SELECT pg_stat_force_next_flush()")
	rows, _ := s.Query(bounded(s.t), `SELECT p.proname::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		WHERE p.pronamespace = 'vault'::regnamespace AND l.lanname IN ('plpgsql', 'sql')
		  AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = p.pronamespace AND c.relkind IN ('r', 'p')
		              AND p.prosrc ~ ('vault\.' || c.relname || '\M'))
		  AND p.prorettype <> 'trigger'::regtype AND p.proconfig IS NOT NULL
		  AND NOT EXISTS (SELECT FROM pg_stat_user_functions f WHERE f.funcid = p.oid)
		ORDER BY 1`)
	var name string
	for rows.Next() {
		if err := rows.Scan(&name); err != nil {
			s.t.Fatal(err)
		}
		if notPlanned[name] == "" {
			out = append(out, name)
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return out
}

type loggedPlan struct {
	Query string   `json:"Query Text"`
	Plan  planNode `json:"Plan"`
}

type planNode struct {
	Node     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Index    string     `json:"Index Name"`
	Cond     string     `json:"Index Cond"`
	Rows     float64    `json:"Actual Rows"`
	Loops    float64    `json:"Actual Loops"`
	Filtered float64    `json:"Rows Removed by Filter"`
	Recheck  float64    `json:"Rows Removed by Index Recheck"`
	Plans    []planNode `json:"Plans"`
}

// mustFind are those of the tables that the statement may not read to their end.
func (p loggedPlan) mustFind(grown map[string]int) map[string]int {
	found := map[string]int{}
	for table, rows := range grown {
		found[table] = rows
	}
	for _, m := range readsMuch {
		switch {
		case !strings.Contains(p.Query, m.part):
		case m.table == "":
			return nil
		default:
			delete(found, m.table)
		}
	}
	return found
}

// faults says what a node and those below it read too much of.
func (n planNode) faults(grown map[string]int) (out []string) {
	read := (n.Rows + n.Filtered + n.Recheck) * n.Loops
	switch all, known := grown[n.Relation]; {
	case !known:
	case n.Node == "Seq Scan" && n.Loops > 0:
		out = append(out, fmt.Sprintf("a sequential scan of vault.%s", n.Relation))
	case read > fewRows:
		out = append(out, fmt.Sprintf("%s reads %.0f of %d rows of vault.%s by %s, %s", n.Node, read, all, n.Relation, n.Index, n.Cond))
	}
	for _, below := range n.Plans {
		out = append(out, below.faults(grown)...)
	}
	return out
}
