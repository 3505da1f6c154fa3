package clustertest

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestDocumentedConfiguration: the configuration that docs/CLUSTER.md shows is the one that the tests run, but for
// addresses and for what is marked as the test's own.
func TestDocumentedConfiguration(t *testing.T) {
	var b bytes.Buffer
	err := patroniTemplate.Execute(&b, map[string]any{
		"Name": "node1", "Dir": "/var/lib/postgresql/vault", "BinDir": "/usr/lib/postgresql/15/bin", "EtcdAPI": "etcd3",
		"Etcds": "10.0.0.11:2379,10.0.0.12:2379,10.0.0.13:2379", "RestListen": "10.0.0.11:8008", "RestAddress": "10.0.0.11:8008",
		"PGListen": "10.0.0.11:5432", "PGAddress": "10.0.0.11:5432", "Network": "10.0.0.0/24", "Watchdog": "required",
		"Secret": map[string]string{"rest": "...", "postgres": "...", "replicator": "...", "rewind": "..."},
	})
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, "# of the test") {
			want.WriteString(strings.ReplaceAll(strings.ReplaceAll(line,
				"/var/lib/postgresql/vault/run/agent.sock", "/run/hyperion-vault/agent.sock"),
				"/var/lib/postgresql/vault/run", "/run/postgresql"))
		}
	}
	page, err := os.ReadFile("../../docs/CLUSTER.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	got, _, found := strings.Cut(rest, "```")
	if !found || got != want.String() {
		t.Errorf("docs/CLUSTER.md shows\n%s\nthe tests run\n%s", got, want.String())
	}
}
