package clustertest

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(guardVariable); dir != "" {
		os.Exit(beGuardian(dir))
	}
	code := m.Run()
	if shared != nil {
		if err := shared.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// need skips t unless the cluster tests were asked for; asked for, what is missing is a failure.
func need(t *testing.T) tools {
	t.Helper()
	if os.Getenv("HV_CLUSTER") == "" {
		t.Skip("runs only in \"make test-cluster\" and \"make soak\" (HV_CLUSTER=1)")
	}
	found, err := findTools()
	if err != nil {
		t.Fatalf("HV_CLUSTER is set, and this is missing (scripts/deps.sh test installs it): %v", err)
	}
	return found
}
