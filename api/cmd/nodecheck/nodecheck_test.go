package nodecheck_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/cmd/nodecheck"
	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestOddNames: the commands make everything that a role and a database need, whatever they are called.
func TestOddNames(t *testing.T) {
	needRoot(t)
	db := vaulttest.NewDB(t)
	n := start(t, db)
	for i, name := range []string{"a=b", "it's", `back\slash`, `quo"te`, "postgres://x", "dbname=template1", "-x", ":name", ":'name'", "$HOME", "`id`", "%s", "a b;", "Ünï", `\'`} {
		t.Run(name, func(t *testing.T) {
			n := *n
			n.t = t
			role := name
			if i%2 == 1 {
				role = "vault_service"
			}
			env := []string{"VAULT_PG_USER=" + role, "VAULT_PG_DBNAME=" + name}
			for range 6 {
				todo := slices.DeleteFunc(n.check(env...).Findings, func(f nodecheck.Finding) bool { return strings.Contains(f.What, "hyperion_vault.database") })
				if len(todo) == 0 {
					break
				}
				n.run(todo[0].Fix...)
			}
			f := n.check(env...).Findings
			if len(f) != 1 || !strings.Contains(f[0].What, "hyperion_vault.database") {
				t.Fatalf("left are %q", f)
			}
			n.run(f[0].Fix...)
			file, err := os.ReadFile(filepath.Join(db.Cluster.Data(), "postgresql.auto.conf"))
			if want := "hyperion_vault.database = '" + strings.ReplaceAll(strings.ReplaceAll(name, `\`, `\\`), "'", "''") + "'"; err != nil || !strings.Contains(string(file), want) {
				t.Errorf("want %s in %s, %v", want, file, err)
			}
		})
	}
	db.MustExec(t, "ALTER SYSTEM RESET hyperion_vault.database")
}

func TestLibrary(t *testing.T) {
	needRoot(t)
	c := vaulttest.NewCluster(t, vaulttest.Options{Settings: []string{"shared_preload_libraries = 'auto_explain'"}})
	db := vaulttest.NewDBIn(t, c)
	n := start(t, db)
	n.run(n.want("is not in shared_preload_libraries")...)
	c.MustStop(t, syscall.SIGINT)
	c.MustStart(t)
	db.Await(t, "both libraries are loaded", "SELECT current_setting('shared_preload_libraries') = 'auto_explain, hyperion_vault'")
	// Again, as when the server was not restarted yet: nothing is added twice.
	n.run(n.want("hyperion_vault.database of " + c.Dir() + " port 5432 is postgres, and this service serves hv_1")...)
	c.MustStop(t, syscall.SIGINT)
	c.MustStart(t)
	n.wantNothing()
}

func TestAgent(t *testing.T) {
	needRoot(t)
	n := start(t, vaulttest.NewDBIn(t, vaulttest.Shared(t)))
	socket := setting(n.env, "VAULT_AGENT_SOCKET")
	matching := "VAULT_PG_DBNAME=" + n.db.Name
	ignoreDatabase := func(r nodecheck.Report) []nodecheck.Finding {
		return slices.DeleteFunc(r.Findings, func(f nodecheck.Finding) bool { return strings.Contains(f.What, "hyperion_vault.database") })
	}
	want := func(text string, env ...string) []string {
		t.Helper()
		f := ignoreDatabase(n.check(append(env, matching)...))
		if len(f) != 1 || !strings.Contains(f[0].What, text) {
			t.Fatalf("found %q, want %q", f, text)
		}
		return f[0].Fix
	}
	wantNothing := func() {
		t.Helper()
		if f := ignoreDatabase(n.check(matching)); len(f) > 0 {
			t.Errorf("found %q", f)
		}
	}
	wantNothing()
	t.Run("ErrNotRunning", func(t *testing.T) {
		if fix := want("the service does not run", "VAULT_AGENT_SOCKET="+socket+".none"); fix[0] != "systemctl start hyperion-vault-api.service" {
			t.Error(fix)
		}
	})
	t.Run("ErrClosedDirectory", func(t *testing.T) {
		if err := os.Chmod(filepath.Dir(socket), 0o700); err != nil {
			t.Fatal(err)
		}
		n.run(want("the directory " + filepath.Dir(socket) + " is closed to others")...)
		wantNothing()
	})
	t.Run("ErrSocketOfOthers", func(t *testing.T) {
		if err := os.Chown(socket, 0, 0); err != nil {
			t.Fatal(err)
		}
		n.run(want("may not use the key agent's socket")...)
		wantNothing()
	})
	t.Run("ErrNotServed", func(t *testing.T) {
		if err := os.Chmod(socket, 0o666); err != nil {
			t.Fatal(err)
		}
		if fix := want("does not serve user nobody", "VAULT_AGENT_PEERS=nobody"); fix[0] != "systemctl restart hyperion-vault-api.service" {
			t.Error(fix)
		}
	})
	t.Run("ErrUnknownPeer", func(t *testing.T) { want("names the OS user who-is-it", "VAULT_AGENT_PEERS=who-is-it") })
	t.Run("ErrHangs", func(t *testing.T) {
		silent := filepath.Join(filepath.Dir(socket), "silent.sock")
		ln, err := net.Listen("unix", silent)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if err := os.Chmod(silent, 0o666); err != nil {
			t.Fatal(err)
		}
		want("does not answer", "VAULT_AGENT_SOCKET="+silent)
	})
}

func TestKey(t *testing.T) {
	needRoot(t)
	k, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	for name, value := range k.Environ() {
		t.Setenv(name, value)
	}
	key := k.CreateKey()
	n := start(t, vaulttest.NewDB(t))
	env := []string{"VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID=" + key, "VAULT_KMS_MAX_RETRIES=1"}
	find := func(env ...string) nodecheck.Finding {
		t.Helper()
		for _, f := range n.check(env...).Findings {
			if strings.Contains(f.What, "key service") {
				return f
			}
		}
		return nodecheck.Finding{}
	}
	if f := find(env...); f.What != "" {
		t.Errorf("%q", f)
	}
	k.SetState(key, kmstest.Disabled)
	if f := find(env...); !strings.Contains(f.What, "DisabledException") || f.Fix[0] != "aws kms enable-key --region eu-test-1 --key-id "+key {
		t.Errorf("%q", f)
	}
	k.SetState(key, kmstest.PendingDeletion)
	if f := find(env...); !strings.Contains(f.What, "KMSInvalidStateException") || f.Fix[0] != "aws kms cancel-key-deletion --region eu-test-1 --key-id "+key {
		t.Errorf("%q", f)
	}
	if f := find("VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID=alias/none"); !strings.Contains(f.What, "NotFoundException") || f.Fix[0] != "aws kms list-aliases" {
		t.Errorf("%q", f)
	}
	k.SetState(key, kmstest.Enabled)
	k.Always(kmstest.Refused)
	if f := find(env...); !strings.Contains(f.What, "AccessDeniedException") ||
		f.Fix[0] != "aws kms create-grant --region eu-test-1 --key-id "+key+" --grantee-principal arn:aws:iam::123456789012:role/vault --operations GenerateDataKey Decrypt DescribeKey" {
		t.Errorf("%q", f)
	}
	t.Run("an alias is resolved where AWS wants a key", func(t *testing.T) {
		n := *n
		n.t = t
		argv := fakeAWS(t)
		k.Always(kmstest.Refused)
		for _, id := range []string{"alias/it", "arn:aws:kms:eu-central-1:123456789012:alias/it"} {
			t.Setenv("AWS_REGION", "eu-central-1")
			f := find("VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID="+id, "VAULT_KMS_MAX_RETRIES=1")
			n.run(f.Fix...)
			region := ""
			if strings.HasPrefix(id, "arn:") {
				region = " --region eu-central-1"
			}
			want := "kms describe-key" + region + " --key-id " + id + " --query KeyMetadata.Arn --output text\n" +
				"kms create-grant" + region + " --key-id the-key --grantee-principal arn:aws:iam::123456789012:role/vault --operations GenerateDataKey Decrypt DescribeKey\n"
			if got := argv(); got != want {
				t.Errorf("aws was called with\n%s, not\n%s", got, want)
			}
		}
		k.Always()
	})
	k.Always(kmstest.Refused)
	k.Stop()
	if f := find(env...); f.What == "" || f.Fix[0] != "aws kms describe-key --region eu-test-1 --key-id "+key {
		t.Errorf("%q", f)
	}
}

func TestSettings(t *testing.T) {
	needRoot(t)
	n := start(t, vaulttest.NewDB(t))
	find := func(env ...string) []nodecheck.Finding {
		t.Helper()
		return slices.DeleteFunc(n.check(env...).Findings, func(f nodecheck.Finding) bool { return !strings.Contains(f.What, "VAULT_") })
	}
	t.Run("ErrNobodyAllowed", func(t *testing.T) {
		n.env = slices.DeleteFunc(slices.Clone(n.env), func(kv string) bool { return strings.HasPrefix(kv, "VAULT_ALLOWED_IPS=") })
		f := find()
		if len(f) != 1 || !strings.Contains(f[0].What, "VAULT_ALLOWED_IPS is empty") {
			t.Fatalf("%q", f)
		}
		n.run(f[0].Fix...)
		text, err := os.ReadFile(n.options.SettingsFile)
		if err != nil {
			t.Fatal(err)
		}
		if f := find(strings.TrimSpace(string(text))); len(f) != 0 {
			t.Errorf("%q", f)
		}
	})
	t.Run("ErrWrong", func(t *testing.T) {
		f := find("VAULT_LOCAL_MASTER_KEY=CANARY", "VAULT_LSN_WAIT_MS=soon")
		if len(f) != 2 || !strings.HasPrefix(f[0].Fix[0], `"${EDITOR:-editor}" `) {
			t.Errorf("%q", f)
		}
	})
	t.Run("WarnUnknown", func(t *testing.T) {
		for _, more := range []string{"VAULT_LSN_WAIT_MS=soon", "VAULT_LSN_WAIT_MS=5"} {
			r := n.check("VAULT_KMS_MOD=CANARY", more)
			if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "VAULT_KMS_MOD is not a setting") ||
				!strings.Contains(r.Warnings[0], "VAULT_KMS_MODE") || strings.Contains(r.Warnings[0], "CANARY") {
				t.Errorf("%s: %q", more, r.Warnings)
			}
		}
		if r := n.check(); len(r.Warnings) != 0 {
			t.Errorf("%q", r.Warnings)
		}
	})
	t.Run("ErrNoDatabaseSettings", func(t *testing.T) {
		if f := find("VAULT_PG_PORT=none"); len(f) != 1 {
			t.Errorf("%q", f)
		}
	})
}

// TestQuoted: what a shell makes of the quoted word is the word.
func TestQuoted(t *testing.T) {
	for _, word := range []string{"", "a b", "it's", `"$(id)"`, "`id`", `\`, "*", "~", "a\nb", "é"} {
		out, err := exec.Command("sh", "-c", "printf %s "+nodecheck.Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q, %v", word, out, err)
		}
	}
}

// TestOwnUser: without root it still tells what it can, and says what it cannot.
func TestOwnUser(t *testing.T) {
	needRoot(t)
	binary := filepath.Join(t.TempDir(), "hyperion-vault-api")
	if out, err := exec.Command("go", "build", "-o", binary, "../hyperion-vault-api").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for dir := binary; dir != "/tmp"; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755)
	}
	n := start(t, vaulttest.NewDB(t))
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", binary, "check")
	cmd.Env = n.env
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || err == nil {
		t.Errorf("exit %d", code)
	}
	for _, text := range []string{"not checked: the key agent's socket is checked as user ", "cannot write to the audit journal's directory", "error: something is missing"} {
		if !strings.Contains(string(out), text) {
			t.Errorf("want %q in %s", text, out)
		}
	}
}
