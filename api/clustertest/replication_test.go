package clustertest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// These tests show what each kind of replication promises, one by one: docs/CLUSTER.md names them.

// deaf cuts the way on which the standbys replicate from n, and nothing else.
func (n *node) deaf(cut bool) { n.replication.setCut(cut) }

// withSettings changes Patroni's settings for the length of the test.
func withSettings(t *testing.T, c *cluster, change, back map[string]any, check, want, wantBack string) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.configure(back, check, wantBack); err != nil {
			t.Error(err)
		}
	})
	if err := c.configure(change, check, want); err != nil {
		t.Fatal(err)
	}
}

// loseTail has the primary take a change that no standby gets, and die. early is the answer to that change if there was
// one before the primary died. The history ends with a read of the new primary.
func loseTail(t *testing.T, c *cluster) (h *history, early *entry) {
	t.Helper()
	old := c.leader()
	h = newHistory()
	w := newClient(h, c.others(old)[0], 1) // another node's API: its own way to the primary is whole
	defer w.http.CloseIdleConnections()
	loadSeq++
	name := fmt.Sprintf("tail/%d", loadSeq)
	if e := w.do(name, input{Kind: create, Value: w.value()}); e.Out.Outcome != ok {
		t.Fatal(e)
	}
	if err := c.awaitReplay(); err != nil {
		t.Fatal(err)
	}
	old.deaf(true)
	defer old.deaf(false)
	answered := make(chan entry, 1)
	go func() { answered <- w.do(name, input{Kind: update, Value: w.value(), Expect: 1}) }()
	// Either it is answered, or it waits for a standby. Patroni would take the silent standbys off its list after a
	// while, and then no node could take over.
	if !await(answering, func() bool {
		waiting, err := query[bool](old, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'vault_service' AND wait_event = 'SyncRep')")
		return len(answered) > 0 || err == nil && waiting
	}) {
		t.Fatal("the change is neither answered nor waiting")
	}
	if len(answered) > 0 {
		e := <-answered
		early = &e
	}
	if err := old.kill(false); err != nil {
		t.Fatal(err)
	}
	if !await(settling, func() bool { l := c.leader(); return l != nil && l != old }) {
		t.Fatal("no node takes over")
	}
	if early == nil {
		<-answered
	}
	if !await(settling, func() bool { return w.do(name, input{Kind: read}).Out.Outcome == ok }) {
		t.Fatal("the new primary does not answer")
	}
	old.deaf(false)
	if err := old.revive(); err != nil {
		t.Fatal(err)
	}
	if err := c.awaitWhole(); err != nil {
		t.Fatal(err)
	}
	return h, early
}

// asynchronousMayLose: with asynchronous replication what was acknowledged just before the primary died may be lost. The same history shows that
// the checker sees a real loss.
func asynchronousMayLose(t *testing.T) {
	c := whole(t)
	withSettings(t, c, map[string]any{"synchronous_mode": false, "synchronous_mode_strict": false},
		map[string]any{"synchronous_mode": true, "synchronous_mode_strict": true},
		"SELECT 'names: ' || current_setting('synchronous_standby_names') || '.'", "names: .", "node")
	h, early := loseTail(t, c)
	if early == nil || early.Out.Outcome != ok {
		t.Fatalf("the change was not acknowledged, so nothing can be said: %v", early)
	}
	dir := t.TempDir()
	err := linearizable(h.all(), func() string { return dir })
	if err == nil || !strings.Contains(err.Error(), "Illegal") {
		t.Fatalf("the checker says %v of a history with a lost change:\n%v", err, h.all())
	}
	fmt.Println("CLUSTER asynchronous: a change was acknowledged and is lost, and the checker says so")
}

// synchronousWaits: a change that no standby has is not acknowledged. When its primary dies it is found missing on the
// next one, and done there, or answered as unknown.
func synchronousWaits(t *testing.T) {
	c := whole(t)
	h, early := loseTail(t, c)
	if early != nil {
		t.Fatalf("a change that no standby had was answered: %s", early)
	}
	dir := t.TempDir()
	if err := linearizable(h.all(), func() string { return dir }); err != nil {
		t.Fatalf("%v\n%v", err, h.all())
	}
	last := h.all()[1]
	fmt.Printf("CLUSTER synchronous: a change that no standby had was not acknowledged; after the failover its answer was %q %s\n", last.Out.Outcome, last.Detail)
}

// vaultLsnReadsOwnWrites: with synchronous_commit = on a standby has what was acknowledged, and may not show it yet. With
// Vault-Lsn the read waits a little, then queries the primary.
func vaultLsnReadsOwnWrites(t *testing.T) {
	c := whole(t)
	leader := c.leader()
	standby := c.others(leader)[0]
	h := newHistory()
	w, r := newClient(h, leader, 1), newClient(h, standby, 1)
	defer w.http.CloseIdleConnections()
	defer r.http.CloseIdleConnections()
	loadSeq++
	name := fmt.Sprintf("lsn/%d", loadSeq)
	w.do(name, input{Kind: create, Value: w.value()})
	if err := c.awaitReplay(); err != nil {
		t.Fatal(err)
	}
	if _, err := query[bool](standby, "SELECT pg_wal_replay_pause() IS NOT NULL"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = query[bool](standby, "SELECT pg_wal_replay_resume() IS NOT NULL") })
	if !await(settling, func() bool {
		paused, err := query[bool](standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
		return err == nil && paused
	}) {
		t.Fatal("replay does not stand still")
	}
	change := w.do(name, input{Kind: update, Value: w.value(), Expect: 1})
	if change.Out.Outcome != ok || change.LSN == "" {
		t.Fatalf("not acknowledged with an LSN: %s %q", change, change.LSN)
	}
	if e := r.do(name, input{Kind: local}); e.Out.Outcome != ok || e.Out.Version != 1 {
		t.Errorf("a local read shows %s: replay stands still, so it should be version 1", e)
	}
	if e := r.doAt(name, input{Kind: local}, change.LSN, 2); e.Out.Outcome != ok || e.Out.Version != 2 {
		t.Errorf("a read with the change's LSN: %s", e)
	}
	if e := r.do(name, input{Kind: read}); e.Out.Outcome != ok || e.Out.Version != 2 {
		t.Errorf("a read of the primary: %s", e)
	}
}

// remoteApplyReadsOwnWrites: with remote_apply what was acknowledged is shown by local reads of every synchronous standby, without Vault-Lsn.
func remoteApplyReadsOwnWrites(t *testing.T) {
	c := whole(t)
	commit := func(v string) map[string]any {
		return map[string]any{"postgresql": map[string]any{"parameters": map[string]any{"synchronous_commit": v}}}
	}
	withSettings(t, c, commit("remote_apply"), commit("on"), "SHOW synchronous_commit", "remote_apply", "on")
	if err := c.restartAPIs(nil); err != nil { // its sessions keep the setting that they began with
		t.Fatal(err)
	}
	h := newHistory()
	w := newClient(h, c.leader(), 1)
	defer w.http.CloseIdleConnections()
	var readers []*client
	for _, n := range c.others(c.leader()) {
		r := newClient(h, n, 1)
		defer r.http.CloseIdleConnections()
		readers = append(readers, r)
	}
	loadSeq++
	name := fmt.Sprintf("apply/%d", loadSeq)
	if e := w.do(name, input{Kind: create, Value: w.value()}); e.Out.Outcome != ok {
		t.Fatal(e)
	}
	const rounds = 100
	for v := uint64(1); v <= rounds; v++ {
		if e := w.do(name, input{Kind: update, Value: w.value(), Expect: v}); e.Out.Outcome != ok {
			t.Fatal(e)
		}
		for _, r := range readers {
			if e := r.do(name, input{Kind: local}); e.Out.Version != v+1 {
				t.Fatalf("a local read after an acknowledged write of version %d: %s", v+1, e)
			}
		}
	}
	fmt.Printf("CLUSTER remote_apply: %d local reads on standbys, each showed the write before it\n", rounds*len(readers))
}

// longestWait is the longest time between two acknowledged changes.
func (l *load) longestWait() (longest time.Duration) {
	var last time.Duration
	for _, e := range l.h.all() { // in the order of their answers
		if e.acknowledged() {
			if last > 0 {
				longest = max(longest, e.Return-last)
			}
			last = e.Return
		}
	}
	return longest
}
