package clienttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul-template/config"
	"github.com/hashicorp/consul-template/manager"
)

// consulTemplate runs the program's own runner until it has done what it shall once, or for a process that it supervises,
// until that has ended.
func consulTemplate(t *testing.T, s *site, token, text string) (rendered, program string) {
	t.Helper()
	dir := t.TempDir()
	source, target, out := filepath.Join(dir, "in.tpl"), filepath.Join(dir, "rendered"), filepath.Join(dir, "program")
	ok(t, os.WriteFile(source, []byte(text), 0o600))
	c := config.TestConfig(&config.Config{
		Vault:     &config.VaultConfig{Address: config.String(s.URL), Token: config.String(token), RenewToken: config.Bool(true)},
		Templates: &config.TemplateConfigs{{Source: config.String(source), Destination: config.String(target)}},
		Exec:      &config.ExecConfig{Enabled: config.Bool(true), Command: []string{"sh", "-c", "cat " + target + " > " + out}},
		Wait:      &config.WaitConfig{Enabled: config.Bool(false)},
	})
	c.Finalize()
	runner, err := manager.NewRunner(c, false)
	ok(t, err)
	go runner.Start()
	defer runner.Stop()
	select {
	case err := <-runner.ErrCh:
		if b, rerr := os.ReadFile(out); rerr != nil || len(b) == 0 { // the end of the program is an error too
			t.Fatalf("%v", err)
		}
	case <-runner.DoneCh:
	case <-time.After(60 * time.Second):
		t.Fatal("nothing is rendered")
	}
	for path, to := range map[string]*string{target: &rendered, out: &program} {
		b, err := os.ReadFile(path)
		ok(t, err)
		*to = string(b)
	}
	return rendered, program
}

// TestConsulTemplate: an agent's templates are rendered by the same code.
func TestConsulTemplate(t *testing.T) {
	s := newSite(t)
	client := newVaultClient(t, s)
	login(t, s, client)
	_, err := client.KVv2("secret").Put(t.Context(), "app/db", map[string]any{"password": "p"})
	ok(t, err)
	s.MustCreate(t, "app/text", "plain")
	rendered, program := consulTemplate(t, s, client.Token(), `{{ with secret "secret/data/app/db" }}{{ .Data.data.password }}{{ end }} `+
		`{{ with secret "secret/app/text" }}{{ .Data.data.value }}{{ end }}{{ range secrets "secret/metadata/app" }} {{ . }}{{ end }}`)
	if want := "p plain db text"; rendered != want || program != want {
		t.Errorf("rendered %q, the program saw %q, want %q", rendered, program, want)
	}
	// It looks up which mount a path belongs to, and renews its token at the start.
	for _, route := range []string{"/v1/sys/internal/ui/mounts/{path}", "/v1/auth/token/renew-self"} {
		if !strings.Contains(s.Log(), `"route":"`+route+`"`) {
			t.Errorf("no request for %s", route)
		}
	}
}
