package clienttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// python runs a script with the system's Python, whose packages are Debian's.
func python(t *testing.T, s *site, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", script)
	cmd.Env = append(os.Environ(), "ADDR="+s.URL, fmt.Sprintf("STANDBY=%t", s.standby), "TOKEN="+s.AdminToken, "ROLE_ID="+s.roleID, "SECRET_ID="+s.secretID)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestHvac(t *testing.T) {
	if exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import hvac").Run() != nil {
		if os.Getenv("HV_REQUIRE_PG") != "" {
			t.Fatal("python3-hvac is not installed")
		}
		t.Skip("python3-hvac is not installed")
	}
	python(t, newSite(t), `
import hvac, os
c = hvac.Client(url=os.environ["ADDR"])
assert not c.is_authenticated()
c.auth_approle(os.environ["ROLE_ID"], os.environ["SECRET_ID"])
assert c.is_authenticated()
kv = c.secrets.kv.v2
def fails(f, kind, text=None):
    try:
        f()
    except kind as e:
        assert text is None or text in str(e.errors), e
        return e
    raise AssertionError("no " + str(kind))
fails(lambda: kv.read_secret_version("app/db"), hvac.exceptions.InvalidPath)
assert kv.create_or_update_secret("app/db", {"k": "v"}, cas=0)["data"]["version"] == 1
fails(lambda: kv.create_or_update_secret("app/db", {}, cas=0), hvac.exceptions.InvalidRequest, "check-and-set parameter did not match the current version")
assert kv.read_secret_version("app/db")["data"]["data"] == {"k": "v"}
kv.patch("app/db", {"l": "w"})
assert kv.read_secret_version("app/db")["data"]["data"] == {"k": "v", "l": "w"}
assert kv.read_secret_version("app/db", version=1)["data"]["data"] == {"k": "v"}
assert kv.list_secrets("app")["data"]["keys"] == ["db"]
assert kv.list_secrets("")["data"]["keys"] == ["app/"]
kv.delete_latest_version_of_secret("app/db")
e = fails(lambda: kv.read_secret_version("app/db"), hvac.exceptions.InvalidPath)
kv.undelete_secret_versions("app/db", [2])
kv.destroy_secret_versions("app/db", [1])
m = kv.read_secret_metadata("app/db")["data"]
assert m["versions"]["1"]["destroyed"] and m["current_version"] == 2, m
kv.update_metadata("app/db", max_versions=5, cas_required=True)
assert kv.read_secret_metadata("app/db")["data"]["max_versions"] == 5
kv.delete_metadata_and_all_versions("app/db")
fails(lambda: kv.read_secret_version("other/x"), hvac.exceptions.Forbidden, "permission denied")
assert c.sys.is_initialized() and not c.sys.is_sealed()
assert c.sys.read_health_status(method="GET")["standby"] is (os.environ["STANDBY"] == "true")
assert c.sys.read_health_status().status_code == 200
assert c.sys.list_mounted_secrets_engines()["data"]["secret/"]["type"] == "kv"
w = c.write("sys/wrapping/wrap", wrap_ttl="1m", k="v")["wrap_info"]["token"]
assert c.sys.unwrap(w)["data"] == {"k": "v"}
fails(lambda: c.sys.unwrap(w), hvac.exceptions.InvalidRequest, "wrapping token is not valid or does not exist")
c.auth.token.renew_self()
c.logout(revoke_token=True)
`)
}

// TestAnsible looks a secret up from a play.
func TestAnsible(t *testing.T) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		if os.Getenv("HV_REQUIRE_PG") != "" {
			t.Fatal("ansible is not installed")
		}
		t.Skip("ansible is not installed")
	}
	s := newSite(t)
	s.MustCreate(t, "app/text", "plain")
	play := filepath.Join(t.TempDir(), "play.yml")
	ok(t, os.WriteFile(play, []byte(`
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    opts: "url={{ lookup('env', 'ADDR') }} auth_method=approle role_id={{ lookup('env', 'ROLE_ID') }} secret_id={{ lookup('env', 'SECRET_ID') }}"
  tasks:
    - assert:
        that: lookup('community.hashi_vault.hashi_vault', 'secret=secret/data/app/text:value ' + opts) == 'plain'
`), 0o600))
	cmd := exec.CommandContext(t.Context(), "ansible-playbook", "-i", "localhost,", play)
	cmd.Env = append(os.Environ(), "ADDR="+s.URL, "ROLE_ID="+s.roleID, "SECRET_ID="+s.secretID, "ANSIBLE_LOCALHOST_WARNING=False")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
