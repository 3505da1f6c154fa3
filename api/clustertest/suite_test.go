package clustertest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// step is one scenario. docs/CLUSTER.md names them as "TestCluster/Failover".
type step struct {
	name string
	run  func(*testing.T)
}

// TestCluster is what "make test" and "make test-cluster" run: the faults that a cluster is made for, and what each
// kind of replication promises.
func TestCluster(t *testing.T) {
	runSteps(t, []step{
		{"LoadWithoutFaults", scenario(noFault)},
		{"Failover", scenario(killPrimary)},
		{"Switchover", scenario(switchOver)},
		{"Zombie", scenario(freezePrimary)},
		{"Partition", scenario(partPrimary)},
		{"APIsDie", scenario(killAPIs)},
		{"EtcdMajorityAway", scenario(loseEtcd)},
		{"KMSAway", withoutKMS(loseKMS)},
		{"VaultLsnReadsOwnWrites", vaultLsnReadsOwnWrites},
		{"RemoteApplyReadsOwnWrites", remoteApplyReadsOwnWrites},
		{"SynchronousWaits", synchronousWaits},
		{"AsynchronousMayLose", asynchronousMayLose},
	})
}

// TestClusterMore is every other fault once. "make soak" runs them all at random.
func TestClusterMore(t *testing.T) {
	runSteps(t, []step{
		{"NodeDies", scenario(killNode)},
		{"NodeFreezes", scenario(freezeNode)},
		{"PatroniHangs", scenario(hangPatroni)},
		{"StandbyDies", scenario(killStandby)},
		{"FailoverWithoutKMS", withoutKMS(loseKMSAndPrimary)},
	})
}

// runSteps goes on after a scenario that failed, if the cluster can be had whole again. It prints how long each took, the
// first with the start of the cluster.
func runSteps(t *testing.T, steps []step) {
	need(t)
	startedAt, took := time.Now(), ""
	for _, s := range steps {
		from := time.Now()
		if t.Run(s.name, s.run); time.Since(from) >= time.Second { // else -run has left it out
			took += fmt.Sprintf(" %s %.0f,", s.name, time.Since(from).Seconds())
		}
	}
	fmt.Printf("CLUSTER %s took, in seconds:%s %.0f in all\n", strings.TrimPrefix(t.Name(), "Test"), took, time.Since(startedAt).Seconds())
}
