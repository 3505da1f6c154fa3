package config_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/config"
)

// TestSecretsNeverShown plants canaries in the secret variables and, as a slip of the hand would, in others.
func TestSecretsNeverShown(t *testing.T) {
	const canary = "CANARY-9f2c"
	key := base64.StdEncoding.EncodeToString([]byte("CANARY-KEY-0123456789-0123456789"))
	forms := []string{canary, key, "CANARY-KEY"}
	check := func(t *testing.T, what, text string) {
		t.Helper()
		for _, f := range forms {
			if strings.Contains(text, f) || strings.Contains(text, fmt.Sprintf("%x", f)) ||
				strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(f))) ||
				strings.Contains(text, strings.Trim(fmt.Sprint([]byte(f)), "[]")) ||
				strings.Contains(text, strings.Trim(fmt.Sprintf("%#v", []byte(f)), "[]byte{}")) {
				t.Errorf("%s shows %s: %s", what, f, text)
			}
		}
	}
	t.Run("Printed", func(t *testing.T) {
		c, warnings := mustLoad(t, environ("VAULT_PG_PASSWORD="+canary, "VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+key))
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			check(t, verb, fmt.Sprintf(verb, c))
			check(t, verb, fmt.Sprintf(verb, &c))
			check(t, verb, fmt.Sprintf(verb, c.Postgres))
			check(t, verb, fmt.Sprintf(verb, c.KMS))
			check(t, verb, fmt.Sprintf(verb, c.KMS.MasterKey))
			check(t, verb, fmt.Sprintf(verb, []config.Secret{c.KMS.MasterKey}))
		}
		js, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		check(t, "json", string(js))
		var b strings.Builder
		for _, h := range []slog.Handler{slog.NewJSONHandler(&b, nil), slog.NewTextHandler(&b, nil)} {
			slog.New(h).Info("x", "c", c, "p", &c, "kms", c.KMS, "pg", &c.Postgres, "key", c.KMS.MasterKey)
		}
		check(t, "slog", b.String())
		check(t, "warnings", fmt.Sprint(warnings))
		if !strings.Contains(c.String(), "password=REDACTED") || !strings.Contains(c.String(), "node=") {
			t.Errorf("String: %s", c)
		}
	})
	t.Run("Malformed", func(t *testing.T) {
		for _, env := range [][]string{
			{"VAULT_PG_PASSWORD=" + canary + "\xff"},
			{"VAULT_LOCAL_MASTER_KEY=" + canary},
			{"VAULT_LOCAL_MASTER_KEY=" + key + "=="},
			{"VAULT_PG_HOSTS=postgres://u:" + canary + "@db/x"},
			{"VAULT_PG_PASSWORD=" + canary, "VAULT_PG_PORT=" + canary},
			{"VAULT_PG_PASSWORD=" + canary, "VAULT_ALLOWED_IPS=10.0.0.0/8," + canary},
			{"VAULT_LOCAL_MASTER_KEY=" + key, "VAULT_KMS_MODE=" + key},
			{"VAULT_LOG_LEVEL=hvt_" + canary},
			{"VAULT_PG_PASWORD=" + canary, "VAULT_PG_PORT=x"},
		} {
			for _, load := range []func(func() []string) (config.Config, []config.Warning, error){config.Load, config.LoadStore} {
				_, warnings, err := load(environ(env...))
				check(t, "error", fmt.Sprintf("%v %+v", err, err))
				check(t, "warnings", fmt.Sprintf("%v %+v", warnings, warnings))
			}
		}
	})
}

func TestWipe(t *testing.T) {
	c, _ := mustLoad(t, with("VAULT_PG_PASSWORD=pw"))
	same := c
	c.Wipe()
	if string(same.KMS.MasterKey) != strings.Repeat("\x00", 32) || string(same.Postgres.Password) != "\x00\x00" {
		t.Error("a copy still has the secrets")
	}
}
