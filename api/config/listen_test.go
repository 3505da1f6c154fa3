package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/config"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	cert, key := pemFiles(t, dir, "a")
	other, _ := pemFiles(t, dir, "b")
	junk, open := filepath.Join(dir, "junk"), filepath.Join(dir, "open.key")
	write(t, junk, []byte("no PEM"), 0o600)
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, open, text, 0o644)
	pair := []string{"VAULT_API_TLS_CERT=" + cert, "VAULT_API_TLS_KEY=" + key}
	for _, tt := range []struct {
		listen string
		tls    bool
		want   string // the addresses, or what the error begins with
		plain  string // the addresses that are warned of
	}{
		{"0.0.0.0:8200", false, "[http://0.0.0.0:8200]", "0.0.0.0:8200"},
		{"0.0.0.0:8200", true, "[https://0.0.0.0:8200]", ""},
		{"https://0.0.0.0:8200,http://127.0.0.1:8201", true, "[https://0.0.0.0:8200 http://127.0.0.1:8201]", ""},
		{"https://0.0.0.0:8200, http://10.0.0.1:8201", true, "[https://0.0.0.0:8200 http://10.0.0.1:8201]", "10.0.0.1:8201"},
		{"http://:8200,http://[::1]:8200", true, "[http://:8200 http://[::1]:8200]", ":8200"},
		{"127.0.0.1:0,[::1]:0,localhost:0,127.0.0.1:0", false, "[http://127.0.0.1:0 http://[::1]:0 http://localhost:0 http://127.0.0.1:0]", ""},
		{"db1.example.org:8200", false, "[http://db1.example.org:8200]", "db1.example.org:8200"},
		{"https://0.0.0.0:8200", false, "VAULT_API_TLS_CERT is not set: an https address", ""},
		{"127.0.0.1:1,http://127.0.0.1:1", false, `VAULT_API_LISTEN="127.0.0.1:1,http://127.0.0.1:1": want host:port`, ""},
		{"ftp://0.0.0.0:1", false, `VAULT_API_LISTEN="ftp://0.0.0.0:1": want host:port`, ""},
		{"https://0.0.0.0:1/", true, `VAULT_API_LISTEN="https://0.0.0.0:1/": want host:port`, ""},
		{"127.0.0.1:1,", true, `VAULT_API_LISTEN="127.0.0.1:1,": want host:port`, ""},
		{"https://0.0.0.0", true, `VAULT_API_LISTEN="https://0.0.0.0": want host:port`, ""},
	} {
		env := []string{"VAULT_API_LISTEN=" + tt.listen}
		if tt.tls {
			env = append(env, pair...)
		}
		c, warnings, err := config.Load(with(env...))
		if err != nil {
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%v: %v", env, err)
			}
			continue
		}
		if got := fmt.Sprint(c.Listen); got != tt.want {
			t.Errorf("%v: %s", env, got)
		}
		var warned []string
		for _, w := range warnings {
			if w.Name == "VAULT_API_LISTEN" {
				warned = append(warned, strings.Fields(w.Text)[1])
			}
		}
		if got := strings.Join(warned, ","); got != tt.plain {
			t.Errorf("%v: warned of %q", env, got)
		}
	}
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{pair[0]}, "VAULT_API_TLS_KEY is not set: VAULT_API_TLS_CERT is nothing without it"},
		{[]string{pair[1]}, "VAULT_API_TLS_CERT is not set: VAULT_API_TLS_KEY is nothing without it"},
		{[]string{"VAULT_API_TLS_CERT=" + other, pair[1]}, "it and VAULT_API_TLS_KEY are not a certificate and its key"},
		{[]string{pair[0], "VAULT_API_TLS_KEY=/none"}, `VAULT_API_TLS_KEY="/none": no such file or directory`},
		{[]string{pair[0], "VAULT_API_TLS_KEY=" + dir}, "it is not a regular file"},
		{[]string{"VAULT_API_TLS_CERT=cert.pem", pair[1]}, "want the absolute path of a file"},
		{append([]string{"VAULT_API_TLS_CLIENT_CA=" + junk}, pair...), "no certificate is in it"},
		{append([]string{"VAULT_API_TLS_CLIENT_CA=/none"}, pair...), "no such file"},
		{append([]string{"VAULT_API_TLS_CLIENT_AUTH=maybe"}, pair...), "want require or optional"},
		{[]string{pair[0], "VAULT_API_TLS_KEY=" + string(text)}, "VAULT_API_TLS_KEY (value not shown): want the absolute path of a file"},
	} {
		_, _, err := config.Load(with(tt.env...))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%v: %v", tt.env, err)
		}
	}
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{pair[0], "VAULT_API_TLS_KEY=" + open}, "VAULT_API_TLS_KEY: other users of this system may read the file"},
		{append([]string{"VAULT_API_LISTEN=http://127.0.0.1:1"}, pair...), "VAULT_API_TLS_CERT is not used"},
		{append([]string{"VAULT_API_TLS_CLIENT_AUTH=optional"}, pair...), "VAULT_API_TLS_CLIENT_AUTH is not used without VAULT_API_TLS_CLIENT_CA"},
	} {
		_, warnings, err := config.Load(with(tt.env...))
		if err != nil || !strings.Contains(fmt.Sprint(warnings), tt.want) {
			t.Errorf("%v: %v %v", tt.env, warnings, err)
		}
	}
}

// TestConsoleListen: the console is off, and never reached in the clear from beyond loopback.
func TestConsoleListen(t *testing.T) {
	cert, key := pemFiles(t, t.TempDir(), "a")
	pair := []string{"VAULT_API_TLS_CERT=" + cert, "VAULT_API_TLS_KEY=" + key}
	for _, tt := range []struct {
		listen string
		tls    bool
		want   string // the addresses, or what the error begins with
	}{
		{"", true, "[]"},
		{"off", true, "[]"},
		{"127.0.0.1:8210", false, "[http://127.0.0.1:8210]"},
		{"127.0.0.1:8210", true, "[https://127.0.0.1:8210]"},
		{"https://0.0.0.0:8210,http://[::1]:8210", true, "[https://0.0.0.0:8210 http://[::1]:8210]"},
		{"0.0.0.0:8210", false, "VAULT_CONSOLE_LISTEN: 0.0.0.0:8210 is reached from beyond loopback in the clear"},
		{"http://10.0.0.1:8210", true, "VAULT_CONSOLE_LISTEN: 10.0.0.1:8210 is reached from beyond loopback in the clear"},
		{"https://127.0.0.1:8210", false, "VAULT_API_TLS_CERT is not set: an https address"},
		{"on", true, `VAULT_CONSOLE_LISTEN="on": want host:port`},
	} {
		env := []string{"VAULT_API_LISTEN=http://127.0.0.1:8200", "VAULT_CONSOLE_LISTEN=" + tt.listen}
		if tt.tls {
			env = append(env, pair...)
		}
		c, _, err := config.Load(with(env...))
		if err != nil {
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%v: %v", env, err)
			}
			continue
		}
		if got := fmt.Sprint(c.Console); got != tt.want {
			t.Errorf("%v: %s", env, got)
		}
	}
}
