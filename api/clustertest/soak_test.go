package clustertest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestSoak breaks things at random for HV_SOAK_MINUTES: one or two faults a round, under load, everything compared
// after each. HV_SOAK_SEED repeats the faults of a run; what the machine makes of the same order is another matter.
func TestSoak(t *testing.T) {
	need(t)
	minutes, err := strconv.Atoi(os.Getenv("HV_SOAK_MINUTES"))
	if err != nil || minutes <= 0 {
		t.Skip("runs only in \"make soak MINUTES=30\" (HV_SOAK_MINUTES)")
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("HV_SOAK_SEED"); v != "" {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("SOAK seed %d, %d minutes\n", seed, minutes)
	c := whole(t)
	k := withKMS(t, c)
	faults := []struct {
		name string
		f    fault
	}{
		{"kill the primary", killPrimary}, {"kill the primary's node", killNode}, {"kill a standby", killStandby}, {"switchover", switchOver},
		{"freeze the primary", freezePrimary}, {"freeze the primary's node", freezeNode}, {"cut the primary off", partPrimary},
		{"hang the primary's Patroni", hangPatroni}, {"kill the APIs", killAPIs}, {"lose etcd", loseEtcd},
		{"lose the key service", loseKMS(k)}, {"lose the key service and the primary", loseKMSAndPrimary(k)},
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	sum := report{}
	deadline := time.Now().Add(time.Duration(minutes) * time.Minute)
	round := 0
	for ; time.Now().Before(deadline); round++ {
		l := startLoad(t, c, rng.Uint64())
		l.awaitChanges(5, c.nodes...)
		var victims []*node
		for range 1 + rng.IntN(2) {
			x := faults[rng.IntN(len(faults))]
			fmt.Printf("SOAK round %d: %s\n", round+1, x.name)
			befell, figures := x.f(l)
			victims = append(victims, befell...)
			for _, figure := range figures {
				fmt.Println("SOAK   ", figure)
			}
		}
		l.stop()
		s, err := l.spared(victims)
		l.must(err)
		fmt.Printf("SOAK    reads on surviving nodes %d, failed %d, longest gap %d ms\n", s.answered, s.refused, s.longest.Milliseconds())
		r := l.verify()
		sum.acknowledged, sum.unknown, sum.reads = sum.acknowledged+r.acknowledged, sum.unknown+r.unknown, sum.reads+r.reads
	}
	fmt.Printf("SOAK seed %d: %d rounds, acknowledged writes %d, lost 0, duplicate versions 0, checker ok; unknown %d, reads %d\n",
		seed, round, sum.acknowledged, sum.unknown, sum.reads)
}
