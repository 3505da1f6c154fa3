package clustertest

import (
	"testing"
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
		{"Partition", scenario(partPrimary)},
		{"PatroniHangs", scenario(hangPatroni)},
		{"StandbyDies", scenario(killStandby)},
		{"APIsDie", scenario(killAPIs)},
		{"EtcdMajorityAway", scenario(loseEtcd)},
		{"KMSAway", withoutKMS(loseKMS)},
		{"FailoverWithoutKMS", withoutKMS(loseKMSAndPrimary)},
	})
}

// runSteps goes on after a scenario that failed, if the cluster can be had whole again.
func runSteps(t *testing.T, steps []step) {
	need(t)
	for _, s := range steps {
		t.Run(s.name, s.run)
	}
}
