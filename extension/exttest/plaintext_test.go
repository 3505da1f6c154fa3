package exttest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// marker is a text that occurs nowhere else, which values are made of. It is random, so nothing compresses it away.
type marker string

func newMarker() marker { return marker(strings.Map(letters, randomText(40))) }

// letters keeps the marker the same in JSON, in quotes and in any encoding of text.
func letters(r rune) rune {
	if r >= '0' && r <= '9' {
		return 'g' + r - '0'
	}
	return r
}

// value is a value that holds the marker; where tells in a hit which path it took.
func (m marker) value(where string) string { return where + "." + string(m) + "." + randomText(4) }

// large is a value of n bytes that nothing can compress, with the marker all over it.
func (m marker) large(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(base64.RawStdEncoding.EncodeToString(random(100 + b.Len()%37)))
		b.WriteString(string(m))
	}
	return b.String()[:n]
}

// forms are the ways in which the marker's bytes may have been written down.
func (m marker) forms() map[string][]byte {
	raw := []byte(m)
	forms := map[string][]byte{
		"as it is":  raw,
		"hex":       []byte(hex.EncodeToString(raw)),
		"upper hex": []byte(strings.ToUpper(hex.EncodeToString(raw))),
		"decimals":  []byte(strings.Trim(fmt.Sprint(raw), "[]")), // as debug_print_plan shows a constant
	}
	for shift, name := range []string{"base64, first byte", "base64, second byte", "base64, third byte"} {
		// Letters that all of the marker's bytes decide, wherever in a group of three it begins.
		coded := base64.StdEncoding.EncodeToString(append(make([]byte, shift), raw...))
		forms[name] = []byte(coded[4 : len(coded)-4])
	}
	for name, order := range map[string]int{"UTF-16LE": 0, "UTF-16BE": 1} {
		b := make([]byte, 0, 2*len(raw))
		for _, u := range utf16.Encode([]rune(string(m))) {
			b = append(b, byte(u>>(8*order)), byte(u>>(8*(1-order))))
		}
		forms[name] = b
	}
	return forms
}

// hit is a place where a marker was found.
type hit struct{ file, form, around string }

// needle is one form of a marker.
type needle struct {
	name string
	form []byte
}

// needles are many forms, which are found in one pass over a text. They are ordered by their first bytes.
type needles struct {
	begin [1 << 16]bool // the first two bytes of some form
	of    map[[4]byte][]needle
}

func needlesOf(markers []marker) *needles {
	n := &needles{of: map[[4]byte][]needle{}}
	for _, m := range markers {
		for name, form := range m.forms() {
			n.begin[int(form[0])<<8|int(form[1])] = true
			n.of[[4]byte(form)] = append(n.of[[4]byte(form)], needle{name + " of " + string(m[:4]), form})
		}
	}
	return n
}

// find calls found with the first place of each form.
func (n *needles) find(content []byte, found func(n needle, at int)) {
	seen := map[string]bool{}
	for i := 0; i+4 <= len(content); i++ {
		if !n.begin[int(content[i])<<8|int(content[i+1])] {
			continue
		}
		for _, x := range n.of[[4]byte(content[i:])] {
			if !seen[string(x.form)] && bytes.HasPrefix(content[i:], x.form) {
				seen[string(x.form)] = true
				found(x, i)
			}
		}
	}
}

// search looks for markers in every file below the directories and in the texts.
func search(t *testing.T, markers []marker, directories []string, texts map[string]string) (hits []hit, files int) {
	t.Helper()
	forms := needlesOf(markers)
	look := func(file string, content []byte) {
		files++
		forms.find(content, func(n needle, at int) {
			around := content[max(0, at-40):min(len(content), at+len(n.form)+10)]
			hits = append(hits, hit{file, n.name, strings.ToValidUTF8(string(around), "?")})
		})
	}
	for _, directory := range directories {
		err := filepath.WalkDir(directory, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the server removes files all the time
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			look(path, content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range texts {
		look(name, []byte(text))
	}
	return hits, files
}

func TestNoPlaintextOnDisk(t *testing.T) {
	c := startCluster(t, true, "wal_level = logical", "full_page_writes = on", "log_min_messages = debug1")
	db := c.NewDB(t)
	api := vaulttest.NewServer(t, db)
	m := newMarker()
	markers := []marker{m}
	rest := clientOf(t, api)
	admin := c.connect(t, db.Name, vaulttest.Superuser)
	admin.exec("ALTER SYSTEM SET work_mem = '64kB'")
	admin.exec("SELECT pg_reload_conf()")

	bySQL(t, c, db, admin, m)
	markers = append(markers, byREST(t, rest, admin, m)...)

	// A control, to show that what is searched for can be found: rows of an ordinary table, in each form.
	control := newMarker()
	admin.exec("CREATE TABLE control (v text)")
	for _, form := range control.forms() {
		if !bytes.Contains(form, []byte{0}) {
			admin.exec("INSERT INTO control VALUES ($1)", string(form))
		}
	}
	admin.exec("INSERT INTO control VALUES ($1)", control.large(64<<10)) // in a TOAST table

	admin.exec("CHECKPOINT")
	watch := c.connect(t, db.Name, vaulttest.Superuser)
	crash(t, c, db.Name, m)
	_ = watch.Close(t.Context())

	texts := map[string]string{"the API's log": api.Log()}
	hits, files := search(t, markers, []string{c.Dir(), filepath.Dir(api.AgentSocket)}, texts)
	for _, h := range hits {
		t.Errorf("plaintext in %s, %s: %q", h.file, h.form, h.around)
	}
	if files < 500 || len(api.Log()) < 1000 {
		t.Errorf("searched %d files and %d bytes of the API's log only", files, len(api.Log()))
	}
	found, _ := search(t, []marker{control}, []string{c.Dir()}, nil)
	inForm, inWAL, inHeap := map[string]bool{}, false, false
	for _, h := range found {
		inForm[h.form] = true
		inWAL = inWAL || strings.Contains(h.file, "/pg_wal/")
		inHeap = inHeap || strings.Contains(h.file, "/base/")
	}
	if len(inForm) != 7 || !inWAL || !inHeap {
		t.Errorf("the control was found in forms %v, in WAL %v, in the heap %v: the search is blind", inForm, inWAL, inHeap)
	}
	if r, _ := search(t, []marker{control}, nil, map[string]string{"text": "x" + string(control)}); len(r) != 1 {
		t.Error("the search is blind in texts")
	}
	// The values are still what they were.
	again := c.connect(t, db.Name, vaulttest.Superuser)
	if v := get[string](again, "SELECT vault.read_secret('sql/text')"); !strings.Contains(v, string(m)) {
		t.Error("a value does not read back after the crash")
	}
}

// bySQL takes the marker through every SQL function, and through failures of each.
func bySQL(t *testing.T, c cluster, db *vaulttest.DB, admin *session, m marker) {
	t.Helper()
	must := func(sql string, args ...any) { t.Helper(); admin.exec(sql, args...) }
	fails := func(state, sql string, args ...any) {
		t.Helper()
		err := admin.try(sql, args...)
		wantError(t, err, state, "")
		if strings.Contains(err.Error(), string(m)) {
			t.Errorf("the value is in the error: %v", err)
		}
	}
	must("SELECT vault.create_secret('sql/text', $1::text, grace_period_secs => 3600)", m.value("create"))
	must("SELECT vault.create_secret('sql/bytes', $1::bytea)", []byte("\x00\xff"+m.value("create-bytes")))
	must("SELECT vault.create_secret('sql/large', $1::text)", m.large(64<<10))
	must("SELECT vault.create_secret('sql/json', $1::text, content_type => 'application/json')", `{"k":"`+m.value("json")+`"}`)
	must("SELECT vault.update_secret('sql/text', $1::text, 1)", m.value("update"))
	must("SELECT vault.update_secret('sql/bytes', $1::bytea, NULL)", []byte(m.value("update-bytes")))
	must("SELECT vault.update_secret('sql/large', $1::text, 1)", m.large(64<<10))
	must("SELECT vault.delete_versions('sql/text', '{1}'), vault.delete_versions('sql/large')")
	must("SELECT vault.undelete_versions('sql/text', '{1}'), vault.undelete_versions('sql/large'), vault.destroy_versions('sql/bytes', '{1}')")
	for range 3 {
		for _, name := range []string{"sql/text", "sql/large", "sql/json"} {
			must("SELECT vault.read_secret($1)", name)
			must("SELECT vault.read_secret_bytes($1)", name)
		}
		must("SELECT vault.read_secret('sql/text', 1)")
	}
	must("SELECT vault.verify('sql/text', $1::text)", m.value("wrong candidate"))
	must("SELECT vault.verify('sql/text', vault.read_secret('sql/text'))")
	must("SELECT vault.verify('sql/large', $1::bytea)", []byte(m.large(64<<10)))

	fails("23505", "SELECT vault.create_secret('sql/text', $1::text)", m.value("exists"))
	fails("22023", "SELECT vault.create_secret('..', $1::text)", m.value("bad name"))
	fails("22023", "SELECT vault.create_secret('sql/new', $1::text, content_type => 'application/json')", "{"+m.value("bad json"))
	fails("22023", "SELECT vault.create_secret('sql/new', $1::bytea, content_type => 'text/plain')", []byte("\xff"+m.value("bad text")))
	fails("54000", "SELECT vault.create_secret('sql/new', $1::text)", m.large(64<<10+1))
	fails("22023", "SELECT vault.create_secret('sql/new', $1::text, 'automatic')", m.value("no interval"))
	fails("VT001", "SELECT vault.update_secret('sql/text', $1::text, 1)", m.value("stale"))
	fails("42704", "SELECT vault.update_secret('sql/absent', $1::text, 1)", m.value("absent"))
	fails("22023", "SELECT vault.read_secret('sql/bytes')")

	role := c.newRole(t)
	admin.exec("SELECT vault.grant_access($1::text::regrole, 'app/*', '{create,read,verify}')", role)
	s := c.connect(t, db.Name, role)
	for _, sql := range []string{
		"SELECT vault.create_secret('sql/other', $1::text)", "SELECT vault.update_secret('sql/text', $1::text, 2)",
		"SELECT vault.verify('sql/text', $1::text)",
	} {
		if err := s.try(sql, m.value("denied")); err == nil {
			t.Errorf("%s succeeded", sql)
		}
	}
	// Rolled back, caught, prepared, in a cursor, in a function's variables.
	must("BEGIN")
	must("SELECT vault.create_secret('sql/undone', $1::text)", m.large(20000))
	must("ROLLBACK")
	admin.script(`
		CREATE FUNCTION through(v text) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE got text; a text[];
		BEGIN
			PERFORM vault.create_secret('sql/through', v);
			got := vault.read_secret('sql/through');
			a := array_fill(got, '{100}');
			BEGIN PERFORM vault.create_secret('sql/through', got); EXCEPTION WHEN unique_violation THEN NULL; END;
			IF NOT vault.verify('sql/through', a[7]) THEN RAISE 'does not verify'; END IF;
			PERFORM vault.update_secret('sql/through', got || '.more', 1);
		END $$;`)
	// Before it is run, nothing tells that this statement will come to a function of ours: see SECURITY.
	must("SET log_parameter_max_length = 0")
	must("SET log_parameter_max_length_on_error = 0")
	must("SET debug_print_plan = off")
	must("SELECT through($1)", m.large(5000))
	must("RESET ALL")
	must("BEGIN")
	must("DECLARE c CURSOR FOR SELECT vault.read_secret('sql/text') FROM generate_series(1, 50)")
	must("FETCH ALL FROM c")
	must("COMMIT")

	// Agents that are not there, or do not answer.
	must("SET hyperion_vault.agent_socket = '/nowhere/agent.sock'")
	fails("08001", "SELECT vault.create_secret('sql/new', $1::text)", m.value("no agent"))
	fails("08001", "SELECT vault.verify('sql/text', $1::text)", m.value("no agent"))
	must("RESET hyperion_vault.agent_socket")
	silent := newFakeAgent(t)
	silent.silent()
	must("SET hyperion_vault.agent_socket = '" + silent.path + "'")
	must("SET statement_timeout = 200")
	fails("57014", "SELECT vault.create_secret('sql/new', $1::text)", m.value("cancelled"))
	fails("57014", "SELECT vault.update_secret('sql/text', $1::text, NULL)", m.value("cancelled"))
	must("RESET statement_timeout")
	must("RESET hyperion_vault.agent_socket")
}

// byREST takes the marker through every route, and through failures of each. It returns what a rotation generated.
func byREST(t *testing.T, c *client, admin *session, m marker) []marker {
	t.Helper()
	create := func(want int, body any) { t.Helper(); c.must(want, "POST", "/v1/secrets", "", body) }
	type object = map[string]any
	create(http.StatusCreated, object{"name": "rest/text", "kind": "manual", "value": m.value("rest"), "grace_period_secs": 3600})
	create(http.StatusCreated, object{"name": "rest/bytes", "kind": "manual", "content_type": "application/octet-stream",
		"value_base64": base64.StdEncoding.EncodeToString([]byte("\x00\xff" + m.value("rest-bytes")))})
	create(http.StatusCreated, object{"name": "rest/large", "kind": "manual", "value": m.large(64 << 10)})
	create(http.StatusCreated, object{"name": "rest/auto", "kind": "automatic", "rotation_interval_secs": 86400,
		"generate_policy": object{"length": 40, "lower": true}})
	c.must(http.StatusOK, "POST", "/v1/secrets/rest/auto/rotate", "", nil)
	c.must(http.StatusOK, "PUT", "/v1/secrets/rest/text", `"1"`, object{"value": m.value("rest-update")})
	for range 3 {
		c.read("rest/text", "")
		c.read("rest/text", "1")
		c.read("rest/large", "")
		c.must(http.StatusOK, "GET", "/v1/secrets/rest/bytes", "", nil)
		c.read("sql/text", "")
	}
	generated := marker(c.read("rest/auto", ""))
	if !c.verifies("rest/text", c.read("rest/text", "")) || c.verifies("rest/text", m.value("rest-wrong")) {
		t.Error("verify says another thing")
	}
	admin.exec("SELECT vault.read_secret('rest/auto')")
	admin.exec("SELECT vault.rotate_secret('rest/auto')")
	rotated := marker(get[string](admin, "SELECT vault.read_secret('rest/auto')"))

	create(http.StatusConflict, object{"name": "rest/text", "kind": "manual", "value": m.value("rest-exists")})
	create(http.StatusBadRequest, object{"name": "rest/../x", "kind": "manual", "value": m.value("rest-bad-name")})
	create(http.StatusBadRequest, object{"name": "rest/new", "kind": "manual", "value": m.value("rest"), "valeu": m.value("rest-field")})
	create(http.StatusBadRequest, object{"name": "rest/new", "kind": "manual", "value": m.value("rest"), m.value("rest-field-name"): 1})
	create(http.StatusBadRequest, `{"name": "rest/new", "kind": "manual", "value": "`+m.value("rest-cut"))
	create(http.StatusBadRequest, `{"name": "rest/new", "kind": "manual", "value": ["`+m.value("rest-type")+`"]}`)
	create(http.StatusBadRequest, object{"name": "rest/new", "kind": m.value("rest-kind"), "value": "x"})
	create(http.StatusBadRequest, object{"name": "rest/new", "kind": "manual", "content_type": "application/json", "value": "{" + m.value("rest-json")})
	create(http.StatusRequestEntityTooLarge, object{"name": "rest/new", "kind": "manual", "value": m.large(64<<10 + 1)})
	c.must(http.StatusPreconditionFailed, "PUT", "/v1/secrets/rest/text", `"1"`, object{"value": m.value("rest-stale")})
	c.must(http.StatusNotFound, "PUT", "/v1/secrets/rest/absent", `"1"`, object{"value": m.value("rest-absent")})
	c.must(http.StatusNotFound, "GET", "/v1/secrets/rest/absent", "", nil)
	if status, _ := c.do("POST", "/v1/secrets/rest/absent/verify", "", object{"value": m.value("rest-verify-absent")}); status == http.StatusOK {
		t.Error("a secret that is not there verifies")
	}
	anonymous := &client{t, c.url, ""}
	anonymous.must(http.StatusUnauthorized, "POST", "/v1/secrets", "", object{"name": "rest/new", "kind": "manual", "value": m.value("rest-anonymous")})
	stranger := &client{t, c.url, m.value("as-a-token")}
	stranger.must(http.StatusUnauthorized, "POST", "/v1/secrets", "", object{"name": "rest/new", "kind": "manual", "value": m.value("rest-stranger")})
	return []marker{generated, rotated}
}

// crash kills a backend that is idle after a call, and one in the middle of a call, and waits for the server to be
// back each time.
func crash(t *testing.T, c cluster, db string, m marker) {
	t.Helper()
	idle := c.connect(t, db, vaulttest.Superuser)
	idle.exec("SELECT vault.read_secret('sql/text')")
	idle.exec("SELECT vault.verify('sql/text', $1::text)", m.value("before the crash"))
	kill(t, c, idle.pid())

	agent := newFakeAgent(t)
	asked := agent.silent()
	busy := c.connect(t, db, vaulttest.Superuser)
	busy.exec("SET hyperion_vault.agent_socket = '" + agent.path + "'")
	done := make(chan error, 1)
	go func() { done <- busy.try("SELECT vault.create_secret('sql/crash', $1::text)", m.value("in the crash")) }()
	wait(t, asked)
	kill(t, c, busy.pid())
	if err := within(t, pgtest.Patience, done); err == nil {
		t.Error("a create that crashed succeeded")
	}
	c.connect(t, db, vaulttest.Superuser).exec("CHECKPOINT")
}

// kill ends a backend with SIGKILL, after which the server restarts itself.
func kill(t *testing.T, c cluster, pid int) {
	t.Helper()
	crashes := strings.Count(c.logText(t), "was terminated by signal 9")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the server noticed the crash", func() bool {
		return strings.Count(c.logText(t), "was terminated by signal 9") > crashes
	})
	pgtest.Eventually(t, "the server is back", func() bool {
		conn, err := c.dial(t.Context(), "postgres", vaulttest.Superuser)
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	})
}
