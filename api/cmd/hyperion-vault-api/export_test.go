package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// exporter is a vault to export from, beside one to import into.
type exporter struct {
	*pair
	identity  string // a file
	recipient string
}

func newExporter(t *testing.T) *exporter {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &exporter{newPair(t), private(t, id.String()), id.Recipient().String()}
}

// export calls the command with the source's admin token and checks its exit code, and that no value is in its messages.
func (e *exporter) export(t *testing.T, exit int, args ...string) (stdout, stderr string) {
	t.Helper()
	all := append([]string{"export", "--address", e.source.URL, "--token-file", private(t, e.source.AdminToken)}, args...)
	code, stdout, stderr := call(t, e.env, all...)
	if code != exit {
		t.Fatalf("%q: exit %d, want %d\n%s\n%s", args, code, exit, stdout, stderr)
	}
	for _, secret := range []string{marker, e.source.AdminToken, e.target.AdminToken} {
		if strings.Contains(stderr, secret) {
			t.Fatalf("the messages show a secret:\n%s", stderr)
		}
	}
	return stdout, stderr
}

// fillForms adds what a KV engine has no word for.
func (e *exporter) fillForms(t *testing.T) {
	t.Helper()
	for _, body := range []string{
		`{"name":"app/plain","kind":"manual","value":"` + marker + `\nü","description":"a text"}`,
		`{"name":"app/bytes","kind":"manual","content_type":"application/octet-stream","value_base64":"AP8B","keep_versions":3}`,
		`{"name":"app/pretty","kind":"manual","content_type":"application/json","value":"{\n  \"k\": \"` + marker + `\"\n}"}`,
		`{"name":"app/rotated","kind":"automatic","rotation_interval_secs":3600}`,
		`{"name":"app/array","kind":"manual","content_type":"application/json","value":"[1]","keep_versions":3,"grace_period_secs":60}`,
		`{"name":"app/scheduled","kind":"automatic","content_type":"application/json","value":"{\"u\":\"a\",\"p\":\"` + marker + `\"}","rotation_schedule":"0 3 * * *",` +
			`"rotation_time_zone":"Europe/Berlin","rotation_window_secs":600,"rotation_paused":true,"grace_period_secs":77,"generate_policy":{"length":40,"json_field":"p"}}`,
	} {
		if status, answer := e.source.Do(t, "POST", "/v1/secrets", body); status != 201 {
			t.Fatalf("%d %s", status, answer)
		}
	}
}

// keeps compares the settings of a secret in both vaults that say how it rotates.
func (e *exporter) keeps(t *testing.T, name string) {
	t.Helper()
	var all [2]map[string]any
	for i, s := range []*vaulttest.Server{e.source, e.target} {
		status, answer := s.Do(t, "GET", "/v1/metadata/"+name, nil)
		if err := json.Unmarshal([]byte(answer), &all[i]); status != 200 || err != nil {
			t.Fatalf("%s: %d %s", name, status, answer)
		}
	}
	for _, field := range []string{"kind", "rotation_interval_secs", "rotation_schedule", "rotation_time_zone", "rotation_window_secs", "rotation_paused",
		"grace_period_secs", "generate_policy"} {
		if a, b := fmt.Sprint(all[0][field]), fmt.Sprint(all[1][field]); a != b {
			t.Errorf("%s: %s was %s and is %s", name, field, a, b)
		}
	}
}

// shows compares a secret in both vaults as our own API shows it, which has the content type.
func (e *exporter) shows(t *testing.T, name string) {
	t.Helper()
	var all [2]map[string]any
	for i, s := range []*vaulttest.Server{e.source, e.target} {
		status, answer := s.Do(t, "GET", "/v1/secrets/"+name, nil)
		if err := json.Unmarshal([]byte(answer), &all[i]); status != 200 || err != nil {
			t.Fatalf("%s: %d %s", name, status, answer)
		}
	}
	for _, field := range []string{"content_type", "value", "value_base64"} {
		if a, b := fmt.Sprint(all[0][field]), fmt.Sprint(all[1][field]); strings.Join(strings.Fields(a), "") != strings.Join(strings.Fields(b), "") {
			t.Errorf("%s: %s was %s and is %s", name, field, a, b)
		}
	}
}

func TestExportAndImport(t *testing.T) {
	e := newExporter(t)
	e.fill(t)
	e.fillForms(t)
	for _, name := range []string{"sealed", "plain"} {
		t.Run(name, func(t *testing.T) {
			if name == "plain" {
				e.target = vaulttest.NewServer(t, vaulttest.NewDB(t))
				e.flags = e.to(t, e.target.URL)
			}
			file := filepath.Join(t.TempDir(), "export")
			how, open := []string{"--recipient", e.recipient}, []string{"--identity", e.identity}
			if name == "plain" {
				how, open = []string{"--plaintext"}, nil
			}
			stdout, stderr := e.export(t, 1, append(how, "--to", "json", "--prefix", "app", "--output", file)...)
			has(t, stdout, "exported: 11 (versions: 22)\n", "not exported: 1\n",
				"not exported: app/deleted: its current version is deleted", "lost: app/holes: version 1 is")
			has(t, stderr, "app/db: exported, versions: 12\n")
			e.checkFile(t, file, name == "plain")
			stdout, _ = e.run(t, 0, append(open, "--from", "json", file)...)
			has(t, stdout, "imported: 11 (versions: 22)\n", "not imported: 0\n")
			for _, form := range []string{"app/plain", "app/bytes", "app/pretty", "app/db", "app/rotated", "app/text", "app/array", "app/scheduled"} {
				e.shows(t, form)
			}
			for _, name := range []string{"app/rotated", "app/scheduled", "app/array", "app/plain"} {
				e.keeps(t, name)
			}
			for n := 1; n <= 12; n++ {
				has(t, must(t, e.target, "GET", fmt.Sprintf("data/app/db?version=%d", n), ""), fmt.Sprintf(`%s-%d"`, marker, n-1))
			}
			has(t, must(t, e.target, "GET", "metadata/app/db", ""), `"owner":"me"`, `"max_versions":12`, `"delete_version_after":"720h0m0s"`)
			has(t, must(t, e.target, "GET", "metadata/app/empty", ""), `"cas_required":true`, `"current_version":0`)
			if _, answer := e.target.Do(t, "GET", "/v1/metadata/app/plain", nil); !strings.Contains(answer, `"description":"a text"`) {
				t.Errorf("%s", answer)
			}
			stdout, _ = e.run(t, 0, append(open, "--from", "json", file)...)
			has(t, stdout, "imported: 0 (versions: 0)\nthere already: 11\n")
			if name == "sealed" {
				_, stderr = e.run(t, 1, "--from", "json", file)
				has(t, stderr, "the file is sealed: --identity")
				other, _ := age.GenerateX25519Identity()
				_, stderr = e.run(t, 1, "--from", "json", file, "--identity", private(t, other.String()))
				has(t, stderr, "sealed for another recipient")
			}
			e.cutOff(t, file, open)
			_, stderr = e.export(t, 1, append(how, "--to", "json", "--output", file)...)
			has(t, stderr, "is there already")
		})
	}
}

// checkFile checks what an export has made.
func (e *exporter) checkFile(t *testing.T, file string, plaintext bool) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	text, err := os.ReadFile(file)
	if err != nil || bytes.Contains(text, []byte(marker)) != plaintext {
		t.Errorf("values in the clear: %v, %v", !plaintext, err)
	}
	if !plaintext {
		return
	}
	for line := range bytes.Lines(text) {
		if !json.Valid(line) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// cutOff imports what is left of a file that has lost its end.
func (e *exporter) cutOff(t *testing.T, file string, open []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 30, len(text) / 2} {
		_, stderr := e.run(t, 1, append(open, "--from", "json", private(t, string(text[:len(text)-n])))...)
		if !strings.Contains(stderr, "is not complete") && !strings.Contains(stderr, "failed to decrypt") {
			t.Errorf("%d bytes less: %s", n, stderr)
		}
	}
}

func TestExportRights(t *testing.T) {
	e := newExporter(t)
	e.fill(t)
	before := e.audited(t, "app/db")
	e.export(t, 0, "--to", "json", "--prefix", "app/db", "--plaintext")
	if n := e.audited(t, "app/db") - before; n != 12 {
		t.Errorf("%d reads of 12 are in the audit", n)
	}
	status, answer := e.source.Do(t, "POST", "/v1/tokens", `{"name":"narrow","role":"vault_anonymous","scope":[{"pattern":"app/db","actions":["read"]}]}`)
	if status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	var made struct{ Token string }
	if err := json.Unmarshal([]byte(answer), &made); err != nil || made.Token == "" {
		t.Fatalf("%v %s", err, answer)
	}
	stdout, stderr := e.export(t, 0, "--to", "json", "--plaintext", "--token-file", private(t, made.Token))
	has(t, stdout, `"name":"app/db"`, `"secrets":1}`)
	has(t, stderr, "exported: 1 (versions: 12)\n")
	stdout, stderr = e.export(t, 1, "--to", "json", "--plaintext", "--token-file", private(t, "hvt_wrong"))
	has(t, stderr, "list the vault: the server answers 401")
	if strings.Contains(stdout, `"end"`) {
		t.Errorf("a failed export has an end: %s", stdout)
	}
}

// audited counts the reads of a secret.
func (e *exporter) audited(t *testing.T, name string) (n int) {
	t.Helper()
	e.source.AwaitAudit(t)
	err := e.db.MustConnect(t, vaulttest.Superuser).QueryRow(t.Context(),
		"SELECT count(*) FROM vault.audit_log WHERE secret_name = $1 AND action = 'read' AND outcome = 'ok'", name).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestExportDotenv(t *testing.T) {
	e := newExporter(t)
	values := map[string]string{"A": marker, "B": "it's \"$HOME\" `id` \\n", "C": "two\nlines\t", "D": "", "E": "#no comment", "F": "'"}
	body, err := json.Marshal(map[string]any{"data": values})
	if err != nil {
		t.Fatal(err)
	}
	must(t, e.source, "PUT", "data/app/env", string(body))
	must(t, e.source, "PUT", "data/app/number", `{"data":{"n":1}}`)
	file := filepath.Join(t.TempDir(), "env")
	e.export(t, 0, "--to", "dotenv", "--name", "app/env", "--plaintext", "--output", file)
	sealed := filepath.Join(t.TempDir(), "env.age")
	e.export(t, 0, "--to", "dotenv", "--name", "app/env", "--recipient", e.recipient, "--output", sealed)
	e.run(t, 0, "--from", "dotenv", "--name", "a", file)
	e.run(t, 0, "--from", "dotenv", "--name", "b", sealed, "--identity", e.identity)
	for _, name := range []string{"a", "b"} {
		var got struct {
			Data struct{ Data map[string]string }
		}
		if err := json.Unmarshal([]byte(must(t, e.target, "GET", "data/"+name, "")), &got); err != nil || fmt.Sprint(got.Data.Data) != fmt.Sprint(values) {
			t.Errorf("%v %q, want %q", err, got.Data.Data, values)
		}
	}
	for key, want := range values { // a shell reads the same, and runs nothing
		out, err := exec.Command("sh", "-c", `. "$0"; printf %s "$`+key+`"`, file).Output()
		if err != nil || string(out) != want {
			t.Errorf("%s in a shell: %q, want %q, %v", key, out, want, err)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	_, stderr := e.export(t, 1, "--to", "dotenv", "--name", "app/number", "--plaintext", "--output", none)
	has(t, stderr, `its key "n" has none`)
	_, stderr = e.export(t, 1, "--to", "dotenv", "--name", "app/none", "--plaintext", "--output", none)
	has(t, stderr, "app/none: the server answers 404")
	if _, err := os.Stat(none); err == nil {
		t.Error("a failed export leaves a file")
	}
}

// TestExportPlaces: what is not sealed goes to no terminal and to no file that others may read.
func TestExportPlaces(t *testing.T) {
	e := newExporter(t)
	must(t, e.source, "PUT", "data/a", value(1))
	args := []string{"export", "--address", e.source.URL, "--token-file", private(t, e.source.AdminToken), "--to", "json"}
	to := func(mode os.FileMode, more ...string) (int, string, string) {
		name := filepath.Join(t.TempDir(), "out")
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			err = f.Chmod(mode)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var stderr bytes.Buffer
		cmd := command("main", nil, append(args, more...)...)
		cmd.Stdout, cmd.Stderr = f, &stderr
		_ = cmd.Run()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(text), stderr.String()
	}
	if code, text, stderr := to(0o644, "--plaintext"); code != 1 || text != "" || !strings.Contains(stderr, "its mode is 0644, want 0600") {
		t.Errorf("exit %d, %q, %s", code, text, stderr)
	}
	if code, text, stderr := to(0o600, "--plaintext"); code != 0 || !strings.Contains(text, marker) {
		t.Errorf("exit %d, %q, %s", code, text, stderr)
	}
	if code, text, stderr := to(0o644, "--recipient", e.recipient); code != 0 || !strings.HasPrefix(text, "age-encryption.org/") || strings.Contains(text, marker) {
		t.Errorf("exit %d, %q, %s", code, text, stderr)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	_, stderr := e.export(t, 1, "--to", "json", "--plaintext", "--output", link)
	has(t, stderr, "is there already")
	e.fullDisk(t, args)
	e.terminal(t, args)
}

// fullDisk exports to a device that takes nothing.
func (e *exporter) fullDisk(t *testing.T, args []string) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, how := range [][]string{{"--plaintext"}, {"--recipient", e.recipient}} {
		var stderr bytes.Buffer
		cmd := command("main", nil, append(args, how...)...)
		cmd.Stdout, cmd.Stderr = full, &stderr
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%v: %s", cmd.ProcessState, &stderr)
		}
	}
}

// TestExportInterrupted: an export that is stopped leaves no file, and one that is killed leaves a file that is not complete.
func TestExportInterrupted(t *testing.T) {
	e := newExporter(t)
	for i := range 80 {
		must(t, e.source, "PUT", fmt.Sprintf("data/app/%02d", i), value(i))
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		file := filepath.Join(t.TempDir(), "export")
		p := launch(t, nil, "export", "--address", e.source.URL, "--token-file", private(t, e.source.AdminToken), "--to", "json", "--recipient", e.recipient, "--output", file)
		p.waitLine(t, "app/10: ")
		p.signal(t, s)
		<-p.exited
		_, err := os.Stat(file)
		if s == syscall.SIGTERM {
			if !os.IsNotExist(err) || p.cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("%v, %v", p.cmd.ProcessState, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		code, _, stderr := call(t, nil, append(e.flags, "--from", "json", "--identity", e.identity, file)...)
		if code != 1 {
			t.Errorf("half an export: exit %d, %s", code, stderr)
		}
	}
}

func (e *exporter) terminal(t *testing.T, args []string) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal: %v", err)
	}
	defer terminal.Close()
	for _, how := range [][]string{{"--plaintext"}, {"--recipient", e.recipient}} {
		var stderr bytes.Buffer
		cmd := command("main", nil, append(args, how...)...)
		cmd.Stdout, cmd.Stderr = terminal, &stderr
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "is a terminal") {
			t.Errorf("%v: %s", cmd.ProcessState, &stderr)
		}
	}
}

func TestExportToVault(t *testing.T) {
	e := newExporter(t)
	e.fill(t)
	e.env = []string{"VAULT_ADDR=" + e.target.URL, "VAULT_TOKEN=" + e.target.AdminToken}
	stdout, stderr := e.export(t, 1, "--to", "vault", "--prefix", "app", "--below", "old")
	has(t, stdout, "exported: 5 (versions: 16)\n", "not exported: 1\n")
	has(t, stderr, "old/app/db: exported, versions: 12\n")
	has(t, must(t, e.target, "GET", "data/old/app/db?version=12", ""), marker+`-11"`)
	has(t, must(t, e.target, "GET", "metadata/old/app/db", ""), `"owner":"me"`, `"max_versions":12`)
	stdout, _ = e.export(t, 1, "--to", "openbao", "--prefix", "app", "--below", "old")
	has(t, stdout, "exported: 0 (versions: 0)\nthere already: 5\n")
	e.env = []string{"VAULT_ADDR=" + e.target.URL}
	_, stderr = e.export(t, 1, "--to", "vault")
	has(t, stderr, "it needs VAULT_TOKEN or --target-token-file")
	if status, _ := e.target.Do(t, "GET", "/v1/secret/data/other", nil); status != http.StatusNotFound {
		t.Errorf("other: %d", status)
	}
}

func TestExportCalls(t *testing.T) {
	full := []string{"--address", "https://h", "--token-file", "f"}
	for want, args := range map[string][]string{
		"--to wants":                   full,
		"need either --recipient or":   append([]string{"--to", "json"}, full...),
		"either --recipient or --plai": append([]string{"--to", "json", "--plaintext", "--recipient", "age1"}, full...),
		"are for json and dotenv":      append([]string{"--to", "vault", "--plaintext"}, full...),
		"are for vault and openbao":    append([]string{"--to", "json", "--plaintext", "--below", "x"}, full...),
		"--name is needed for dotenv":  append([]string{"--to", "dotenv", "--plaintext"}, full...),
		"exclude each other":           append([]string{"--to", "dotenv", "--plaintext", "--name", "a", "--prefix", "b"}, full...),
		"needs --address and --":       {"--to", "json", "--plaintext"},
	} {
		code, stdout, stderr := callHere(append([]string{"export"}, args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit %d, %s, want %q", args, code, stderr, want)
		}
	}
	secret := "AGE-SECRET-KEY-1QQPQYZ"
	code, _, stderr := callHere("export", "--to", "json", "--recipient", secret, "--address", "https://h", "--token-file", private(t, "hvt_x"),
		"--output", filepath.Join(t.TempDir(), "out"))
	if code != exitFailed || strings.Contains(stderr, secret) || !strings.Contains(stderr, "a recipient is a public key of age") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}
