package clustertest

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// aFamily starts a process with two children, and returns who they are.
func aFamily(t *testing.T) (*exec.Cmd, []int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "sleep 60 & sleep 60 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = killFamily(cmd.Process.Pid)
		_ = cmd.Wait()
	})
	var pids []int
	if !await(10*time.Second, func() bool { pids = family(cmd.Process.Pid); return len(pids) == 3 }) {
		t.Fatalf("the family is %v", pids)
	}
	return cmd, pids
}

// inState returns those of pids that are in one of the states.
func inState(pids []int, states string) (in []int) {
	for _, p := range processes() {
		if slices.Contains(pids, p.pid) && strings.IndexByte(states, p.state) >= 0 {
			in = append(in, p.pid)
		}
	}
	return in
}

func TestKillFamily(t *testing.T) {
	cmd, pids := aFamily(t)
	if err := killFamily(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if alive := inState(pids, "RSDTtI"); len(alive) > 0 {
		t.Errorf("%v of %v are alive", alive, pids)
	}
}

func TestFreeze(t *testing.T) {
	cmd, pids := aFamily(t)
	frozen, err := freeze(cmd.Process.Pid)
	if err == nil {
		err = awaitStates(frozen, "T")
	}
	if err != nil || len(frozen) != len(pids) || len(inState(pids, "T")) != len(pids) {
		t.Errorf("%v of %v stand still: %v", frozen, pids, err)
	}
	thaw(frozen)
}

// TestKillNothing: a fault that does not take place is no fault.
func TestKillNothing(t *testing.T) {
	n := &node{c: &cluster{}, name: "node1", dir: t.TempDir()}
	if err := n.kill(false); err == nil {
		t.Error("killed what is not there")
	}
	if _, err := n.freeze(false); err == nil {
		t.Error("stopped what is not there")
	}
}
