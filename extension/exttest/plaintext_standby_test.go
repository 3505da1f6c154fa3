package exttest

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// logEverything are the settings under which PostgreSQL writes most into its log.
var logEverything = []string{
	"log_statement = all", "log_min_duration_statement = 0", "log_duration = on", "log_min_messages = debug1",
	"log_min_error_statement = debug5", "log_parameter_max_length = -1", "log_parameter_max_length_on_error = -1",
	"debug_print_parse = on", "debug_print_plan = on", "debug_pretty_print = off", "log_error_verbosity = verbose", "log_replication_commands = on",
}

// TestNoPlaintextOnStandby takes a marker through a primary and a standby that log all they can, then searches both.
func TestNoPlaintextOnStandby(t *testing.T) {
	t.Parallel()
	p := startPair(t, append([]string{"wal_level = logical", "full_page_writes = on"}, logEverything...))
	m := newMarker()
	markers := []marker{m}
	bySQL(t, p.primary, p.db, p.here, m)
	markers = append(markers, byREST(t, clientOf(t, p.atHere), p.here, m)...)
	p.standby.MustCatchUp(t)
	bySQLOnStandby(t, p, m)
	byRESTOnStandby(t, clientOf(t, p.atStandby), m)

	control := newMarker()
	p.here.exec("CREATE TABLE control (v text)")
	for _, form := range control.forms() {
		if !bytes.Contains(form, []byte{0}) {
			p.here.exec("INSERT INTO control VALUES ($1)", string(form))
		}
	}
	p.here.exec("CHECKPOINT")
	p.standby.MustCatchUp(t)
	p.there.exec("CHECKPOINT")
	crashStandby(t, p, m)
	p.standby.MustPromote(t)
	after := p.standby.connect(t, p.db.Name, vaulttest.Superuser)
	after.exec("SELECT vault.update_secret('sql/text', $1::text, NULL)", m.value("promoted"))
	after.exec("SELECT vault.rotate_secret('rest/auto')")
	markers = append(markers, marker(get[string](after, "SELECT vault.read_secret('rest/auto')")))
	after.exec("CHECKPOINT")

	directories := []string{p.primary.Dir(), p.standby.Dir()}
	texts := map[string]string{"log of the primary's API": p.atHere.Log(), "log of the standby's API": p.atStandby.Log()}
	for _, s := range []*vaulttest.Server{p.atHere, p.atStandby} {
		for _, dir := range journalsOf(s) {
			if files, err := os.ReadDir(dir); err != nil || len(files) == 0 {
				t.Errorf("no journal in %s: %v", dir, err)
			}
		}
		directories = append(directories, filepath.Dir(s.AgentSocket))
		directories = append(directories, journalsOf(s)...)
	}
	hits, files := search(t, markers, directories, texts)
	for name, c := range map[string]cluster{"primary": p.primary, "standby": p.standby} {
		// A plan is broken into lines where it has a space.
		inPlans, _ := search(t, markers, nil, map[string]string{"log of the " + name: strings.Join(strings.Fields(c.logText(t)), " ")})
		hits = append(hits, inPlans...)
	}
	for _, h := range hits {
		t.Errorf("plaintext in %s, %s: %q", h.file, h.form, h.around)
	}
	if files < 1000 {
		t.Errorf("searched %d files only", files)
	}
	for _, c := range []cluster{p.primary, p.standby} {
		found, _ := search(t, []marker{control}, []string{c.Dir()}, nil)
		var places []string
		for _, h := range found {
			places = append(places, h.file)
		}
		all := strings.Join(places, "\n")
		if !strings.Contains(all, "/pg_wal/") || !strings.Contains(all, "/base/") {
			t.Errorf("the control was found only in %v: the search is blind", places)
		}
		if n := strings.Count(c.logText(t), "<withheld by hyperion_vault>"); n < 10 {
			t.Errorf("%d statements of ours are in the log: it does not log them all", n)
		}
	}
	shown, _ := search(t, []marker{control}, nil, map[string]string{"log": strings.Join(strings.Fields(p.primary.logText(t)), " ")})
	if !slices.ContainsFunc(shown, func(h hit) bool { return strings.HasPrefix(h.form, "decimals") }) {
		t.Error("the control was not found in the plans in the log: the search is blind")
	}
}

// journalsOf are the directories, besides the socket's, in which a server keeps files.
func journalsOf(s *vaulttest.Server) (directories []string) {
	for _, kv := range s.Env {
		if dir, ok := strings.CutPrefix(kv, "VAULT_AUDIT_DIR="); ok {
			directories = append(directories, dir)
		}
	}
	return directories
}

// bySQLOnStandby takes the marker through everything that a standby does or refuses.
func bySQLOnStandby(t *testing.T, p *pair, m marker) {
	t.Helper()
	s := p.there
	s.exec("SET work_mem = '64kB'")
	for range 3 {
		for _, name := range []string{"sql/text", "sql/large", "sql/json", "rest/text"} {
			s.exec("SELECT vault.read_secret($1)", name)
			s.exec("SELECT vault.read_secret_bytes($1)", name)
		}
		s.exec("SELECT vault.read_secret('sql/text', 1)")
	}
	s.exec("SELECT vault.verify('sql/text', $1::text)", m.value("wrong candidate"))
	s.exec("SELECT vault.verify_version('sql/text', $1::bytea)", []byte(m.value("wrong candidate")))
	s.exec("SELECT vault.verify('sql/text', '"+m.value("literal")+"')", pgx.QueryExecModeSimpleProtocol)
	s.exec("SELECT vault.verify('sql/text', vault.read_secret('sql/text'))")
	s.exec("SELECT count(*) FROM vault.list_secrets()")
	s.script("PREPARE v(text) AS SELECT vault.verify('sql/text', $1); EXECUTE v('" + m.value("prepared") + "')")
	for _, sql := range []string{
		"SELECT vault.create_secret('sql/new', $1::text)", "SELECT vault.update_secret('sql/text', $1::text, NULL)",
		"SELECT vault.create_secret('sql/new', $1::bytea)", "SELECT vault.update_secret('sql/text', $1::bytea, NULL)",
	} {
		wantReadOnly(t, s.try(sql, m.value("refused")), "standby", "replicates from")
	}
	for _, sql := range []string{
		"SELECT vault.create_secret('sql/new', '%')", "SELECT vault.create_secret('sql/new' '%')",
		"SELECT vault.update_secret('sql/text', '%', 1, 2)", "SELECT vault.verify('sql/text', '%'), 1/0",
		"SELECT vault.verify('sql/none', '%')", "DO $do$ BEGIN PERFORM vault.create_secret('sql/new', '%'); END $do$",
	} {
		if err := s.try(strings.ReplaceAll(sql, "%", m.value("literal")), pgx.QueryExecModeSimpleProtocol); err == nil {
			t.Errorf("%s succeeded", sql)
		}
	}
	s.script("BEGIN; DECLARE c CURSOR FOR SELECT vault.read_secret('sql/large') FROM generate_series(1, 20); FETCH ALL FROM c; COMMIT")
	silent := newFakeAgent(t)
	silent.silent()
	s.exec("SET hyperion_vault.agent_socket = '" + silent.path + "'")
	s.exec("SET statement_timeout = 200")
	wantError(t, s.try("SELECT vault.verify('sql/text', $1::text)", m.value("cancelled")), "57014", "")
	s.script("RESET ALL")
}

// byRESTOnStandby takes the marker through the API before the standby: reads are local, writes go to the primary.
func byRESTOnStandby(t *testing.T, c *client, m marker) {
	t.Helper()
	type object = map[string]any
	c.must(http.StatusCreated, "POST", "/v1/secrets", "", object{"name": "rest/there", "kind": "manual", "value": m.value("there")})
	c.must(http.StatusOK, "PUT", "/v1/secrets/rest/there", "*", object{"value": m.value("there-update")})
	c.read("sql/text", "")
	c.read("rest/text", "")
	c.read("rest/large", "")
	if c.verifies("rest/text", m.value("wrong")) {
		t.Error("a wrong candidate verifies")
	}
	c.must(http.StatusConflict, "POST", "/v1/secrets", "", object{"name": "rest/text", "kind": "manual", "value": m.value("exists")})
	c.must(http.StatusBadRequest, "POST", "/v1/secrets", "", `{"name":"rest/x","value":"`+m.value("broken")+`"`)
}

// crashStandby kills a backend of the standby in the middle of a verify, and waits for it to be back.
func crashStandby(t *testing.T, p *pair, m marker) {
	t.Helper()
	agent := newFakeAgent(t)
	asked := agent.silent()
	busy := p.standby.connect(t, p.db.Name, vaulttest.Superuser)
	busy.exec("SET hyperion_vault.agent_socket = '" + agent.path + "'")
	done := make(chan error, 1)
	go func() { done <- busy.try("SELECT vault.verify('sql/text', $1::text)", m.value("in the crash")) }()
	wait(t, asked)
	kill(t, p.standby, busy.pid())
	if err := within(t, pgtest.Patience, done); err == nil {
		t.Error("a verify that crashed succeeded")
	}
	s := p.standby.connect(t, p.db.Name, vaulttest.Superuser)
	if v := get[string](s, "SELECT vault.read_secret('sql/text')"); !strings.Contains(v, string(m)) {
		t.Error("a value does not read back after the crash")
	}
}
