package config

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sample is a valid value of each setting that can come from a file. A new one belongs here.
var sample = map[string]string{
	"VAULT_PG_PASSWORD":          "CANARY-pass word",
	"VAULT_LOCAL_MASTER_KEY":     base64.StdEncoding.EncodeToString([]byte("CANARY-KEY-0123456789-0123456789")),
	"VAULT_OLD_LOCAL_MASTER_KEY": base64.StdEncoding.EncodeToString([]byte("CANARY-OLD-0123456789-0123456789")),
	"VAULT_ALLOWED_IPS":          "10.0.0.0/8,::1",
	"VAULT_ANONYMOUS_READ":       "off",
	"VAULT_TRUST_PROXY":          "10.0.0.1,10.0.0.2",
	"VAULT_LOG_LEVEL":            "debug",
	"VAULT_ALLOWED_HOSTS":        "vault.example.org,vault",
	"VAULT_METRICS_ALLOWED_IPS":  "10.0.0.3",
	"VAULT_QUOTA_READS":          "1000",
	"VAULT_QUOTA_VERIFIES":       "5/h",
	"VAULT_QUOTA_CHANGES":        "20/m",
}

// load adds what is needed to start, unless env sets it.
func load(env ...string) (Config, []Warning, error) {
	const master = "VAULT_LOCAL_MASTER_KEY"
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, master) }) {
		env = append(env, master+"="+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	}
	return Load(func() []string { return append(env, "VAULT_KMS_MODE=local", "VAULT_NODE_NAME=n") })
}

func put(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// same compares what two configurations say; secrets are compared by their bytes.
func same(a, b Config) bool {
	return a.String() == b.String() && string(a.Postgres.Password) == string(b.Postgres.Password) &&
		string(a.KMS.MasterKey) == string(b.KMS.MasterKey) &&
		string(a.KMS.Old.MasterKey) == string(b.KMS.Old.MasterKey) && a.AllowedIPs.String() == b.AllowedIPs.String() &&
		fmt.Sprint(a.TrustedProxies) == fmt.Sprint(b.TrustedProxies) && a.LogLevel == b.LogLevel &&
		fmt.Sprint(a.AllowedHosts, a.MetricsIPs, a.AnonymousRead, a.Quota) == fmt.Sprint(b.AllowedHosts, b.MetricsIPs, b.AnonymousRead, b.Quota)
}

// TestEveryFile goes through the table: what NAME_FILE names means the same as NAME.
func TestEveryFile(t *testing.T) {
	dir := t.TempDir()
	n := 0
	for _, s := range settings {
		if !s.fromFile() {
			continue
		}
		n++
		value, ok := sample[s.name]
		if !ok {
			t.Errorf("%s has no sample", s.name)
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			want, _, err := load(s.name + "=" + value)
			if err != nil {
				t.Fatal(err)
			}
			for _, end := range []string{"", "\n", "\r\n"} {
				file := put(t, filepath.Join(dir, s.name), value+end, 0o600)
				got, warnings, err := load(s.name + "_FILE=" + file)
				if err != nil || !same(got, want) {
					t.Errorf("with the end %q: %v %v", end, got, err)
				}
				for _, w := range warnings {
					if strings.Contains(w.Text, "_FILE") {
						t.Errorf("warning: %s", w)
					}
				}
				got, _, err = load(s.name+"_FILE="+s.name, "CREDENTIALS_DIRECTORY="+dir)
				if err != nil || !same(got, want) {
					t.Errorf("as a credential: %v %v", got, err)
				}
			}
			_, _, err = load(s.name+"="+value, s.name+"_FILE=/none")
			if want := s.name + " and " + s.name + "_FILE are both set: want one of them"; err == nil || err.Error() != want {
				t.Errorf("both: %v", err)
			}
		})
	}
	if n < len(sample) {
		t.Errorf("%d settings can come from a file, %d samples", n, len(sample))
	}
}

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string { return put(t, filepath.Join(dir, name), text, mode) }
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "gone"), link); err != nil {
		t.Fatal(err)
	}
	const canary = "CANARY-9f2c"
	for name, tt := range map[string]struct{ env, want string }{
		"Missing":      {"VAULT_ALLOWED_IPS_FILE=/none/such", `VAULT_ALLOWED_IPS_FILE="/none/such": no such file or directory`},
		"MissingSec":   {"VAULT_PG_PASSWORD_FILE=/none/such", `VAULT_PG_PASSWORD_FILE (value not shown): no such file or directory`},
		"SecretItself": {"VAULT_PG_PASSWORD_FILE=" + canary, `VAULT_PG_PASSWORD_FILE (value not shown): CREDENTIALS_DIRECTORY is not set, so it cannot be the name of a systemd credential; want the absolute path of a file`},
		"Relative":     {"VAULT_ALLOWED_IPS_FILE=a/b", `VAULT_ALLOWED_IPS_FILE="a/b": want the absolute path of a file, or the name of a systemd credential`},
		"Up":           {"VAULT_ALLOWED_IPS_FILE=..", `VAULT_ALLOWED_IPS_FILE="..": want the absolute path of a file, or the name of a systemd credential`},
		"Directory":    {"VAULT_PG_PASSWORD_FILE=" + dir, `VAULT_PG_PASSWORD_FILE="` + dir + `": it is not a regular file`},
		"Pipe":         {"VAULT_PG_PASSWORD_FILE=" + pipe, `VAULT_PG_PASSWORD_FILE="` + pipe + `": it is not a regular file`},
		"Dangling":     {"VAULT_LOG_LEVEL_FILE=" + link, `VAULT_LOG_LEVEL_FILE="` + link + `": no such file or directory`},
		"Writable":     {"VAULT_ALLOWED_IPS_FILE=" + file("w", "::1\n", 0o602), `VAULT_ALLOWED_IPS_FILE="` + dir + `/w": every user of this system may change it: its mode is 0602`},
		"Empty":        {"VAULT_PG_PASSWORD_FILE=" + file("e", "", 0o600), `VAULT_PG_PASSWORD_FILE="` + dir + `/e": the file is empty`},
		"NewlineOnly":  {"VAULT_PG_PASSWORD_FILE=" + file("n", "\n", 0o600), `VAULT_PG_PASSWORD_FILE="` + dir + `/n": the file is empty`},
		"EmptyList":    {"VAULT_ALLOWED_IPS_FILE=" + file("el", "", 0o600), `VAULT_ALLOWED_IPS_FILE="` + dir + `/el": the file is empty; a comment says that it is meant to be (# none)`},
		"Long":         {"VAULT_PG_PASSWORD_FILE=" + file("l", strings.Repeat("x", maxFile+1), 0o600), `VAULT_PG_PASSWORD_FILE="` + dir + `/l": it is longer than 1048576 bytes`},
		"TwoNewlines": {"VAULT_LOCAL_MASTER_KEY_FILE=" + file("2", sample["VAULT_LOCAL_MASTER_KEY"]+"\n\n", 0o600),
			`VAULT_LOCAL_MASTER_KEY_FILE="` + dir + `/2" (content not shown): want base64 of exactly 32 bytes (standard alphabet, padded, nothing around it)`},
		"Malformed": {"VAULT_LOG_LEVEL_FILE=" + file("m", canary, 0o600), `VAULT_LOG_LEVEL_FILE="` + dir + `/m" (content not shown): want debug, info, warn or error`},
		"Lines": {"VAULT_ALLOWED_IPS_FILE=" + file("ls", "# all\n10.0.0.1\n"+canary+"\n::1, x\n", 0o600),
			`VAULT_ALLOWED_IPS_FILE="` + dir + `/ls": want comma-separated addresses or CIDR networks; wrong in line 3, 4`},
		"HalfWritten": {"VAULT_ALLOWED_IPS_FILE=" + file("h", "10.0.0.1\n10.0.0.1", 0o600), `VAULT_ALLOWED_IPS_FILE="` + dir + `/h": ` + errUnfinished.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			c, warnings, err := load(tt.env)
			if err == nil || err.Error() != tt.want {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			if c.Listen != nil || strings.Contains(fmt.Sprint(err, warnings), canary) {
				t.Errorf("%v %v", c, warnings)
			}
		})
	}
}

// TestFileUnreadable: a service that may not read the file learns that.
func TestFileUnreadable(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := put(t, filepath.Join(dir, "f"), "CANARY", 0o000)
	runtime.LockOSThread() // what follows is for this thread: root may read every file, another user may not
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	_, _, err := load("VAULT_PG_PASSWORD_FILE=" + file)
	if e := unix.Setfsuid(os.Getuid()); e != nil {
		t.Fatal(e)
	}
	runtime.UnlockOSThread()
	if err == nil || err.Error() != `VAULT_PG_PASSWORD_FILE="`+file+`": permission denied` {
		t.Error(err)
	}
}

func TestFileLists(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"10.0.0.1":            "10.0.0.1",
		"10.0.0.1,10.0.0.2\n": "10.0.0.1,10.0.0.2",
		"# the office\n10.0.0.1 # gate\n\n::1,\n": "10.0.0.1,::1",
		"10.0.0.1\r\n::1\r\n":                     "10.0.0.1,::1",
		"# none\n":                                "",
	} {
		c, _, err := load("VAULT_ALLOWED_IPS_FILE=" + put(t, filepath.Join(dir, "f"), text, 0o644))
		if err != nil || c.AllowedIPs.String() != want {
			t.Errorf("%q: %q %v", text, c.AllowedIPs, err)
		}
	}
}

func TestFileOpenToOthers(t *testing.T) {
	file := put(t, filepath.Join(t.TempDir(), "f"), "pw", 0o644)
	_, warnings, err := load("VAULT_PG_PASSWORD_FILE=" + file)
	if err != nil || !strings.Contains(fmt.Sprint(warnings), "VAULT_PG_PASSWORD_FILE: other users of this system may read the file") {
		t.Errorf("%v %v", warnings, err)
	}
}

// TestFileNotOfEverySetting: a NAME_FILE that means nothing is named as such.
func TestFileNotOfEverySetting(t *testing.T) {
	_, warnings, err := load("VAULT_PG_HOSTS_FILE=/x")
	if err != nil || !strings.Contains(fmt.Sprint(warnings), "VAULT_PG_HOSTS_FILE is not a setting") {
		t.Errorf("%v %v", warnings, err)
	}
}

// TestFileSecretElsewhere: the secret of a file that stands in another variable is not shown.
func TestFileSecretElsewhere(t *testing.T) {
	file := put(t, filepath.Join(t.TempDir(), "f"), "CANARY-9f2c", 0o600)
	_, _, err := load("VAULT_API_LISTEN=CANARY-9f2c", "VAULT_PG_PASSWORD_FILE="+file)
	if err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}

// TestFileOfCommands: a command reads the password's file, and not the master key's.
func TestFileOfCommands(t *testing.T) {
	file := put(t, filepath.Join(t.TempDir(), "f"), "pw\n", 0o600)
	c, _, err := LoadStore(func() []string {
		return []string{"VAULT_PG_PASSWORD_FILE=" + file, "VAULT_LOCAL_MASTER_KEY_FILE=/none"}
	})
	if err != nil || string(c.Postgres.Password) != "pw" {
		t.Errorf("%v %v", c, err)
	}
}

// TestDocumented checks that docs/SERVER.md has every setting that can come from a file. TestSettingsPage checks the rest.
func TestDocumented(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	server := read("docs/SERVER.md")
	for _, s := range settings {
		if s.fromFile() && !strings.Contains(server, "`"+s.name+fileSuffix+"`") {
			t.Errorf("docs/SERVER.md does not have %s%s", s.name, fileSuffix)
		}
	}
}
