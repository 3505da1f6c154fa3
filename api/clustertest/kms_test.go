package clustertest

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
)

// withKMS has the APIs use a key service that can be taken away. What the vault has is opened with the local key as
// before, and what is written needs the key service, so no later test gets this cluster.
func withKMS(t *testing.T, c *cluster) *kmstest.Server {
	t.Helper()
	k, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID=" + k.CreateKey(), "VAULT_KMS_MAX_RETRIES=1",
		"VAULT_OLD_LOCAL_MASTER_KEY=" + c.secret["master"]}
	for name, value := range k.Environ() {
		env = append(env, name+"="+value)
	}
	t.Cleanup(func() {
		c.giveUp(t)
		k.Close()
	})
	if err := c.restartAPIs(env); err != nil {
		t.Fatal(err)
	}
	return k
}

// restartAPIs gives every API other settings.
func (c *cluster) restartAPIs(env []string) error {
	for _, n := range c.nodes {
		if err := n.api.stop(syscall.SIGTERM, settling); err != nil {
			return err
		}
		n.apiEnv = env
	}
	return c.startAPIs()
}

// loseKMS takes the key service away: changes that need a key are refused, reads of what is cached go on.
func loseKMS(k *kmstest.Server) fault {
	return func(l *load) ([]*node, []string) {
		l.stopKMS(k)
		gone := l.h.mark("the key service is away")
		l.readsWithoutKeys(gone)
		back := l.h.mark("the key service is back")
		l.must(k.Start())
		l.awaitKeyed(back)
		return l.c.nodes, []string{fmt.Sprintf("key service back: %.1f s from there to the first new write that needs a key", l.pause(back, back, entry.keyed).Seconds())}
	}
}

// loseKMSAndPrimary: the primary dies while the key service is away; reads of what is cached go on, changes that need a
// key come when both are back.
func loseKMSAndPrimary(k *kmstest.Server) fault {
	return func(l *load) ([]*node, []string) {
		old := l.primary()
		l.stopKMS(k)
		at := l.h.mark("the key service is away, and kill -9 of the primary %s", old.name)
		l.must(old.kill(false))
		gone := l.h.mark("%s is dead", old.name)
		l.takeover(old)
		l.readsWithoutKeys(gone)
		back := l.h.mark("the key service is back")
		l.must(k.Start())
		l.awaitKeyed(back)
		l.must(old.revive())
		l.must(l.c.awaitWhole())
		l.broken(old, at)
		l.awaitChanges(5, l.c.nodes...)
		return l.c.nodes, []string{fmt.Sprintf("primary and key service away together, the key service back after %.1f s: %.1f s from there to the first new "+
			"write that needs a key", (back - at).Seconds(), l.pause(back, back, entry.keyed).Seconds())}
	}
}

// readsWithoutKeys returns when there were reads on every node since gone, and changes that need a key were refused.
func (l *load) readsWithoutKeys(gone time.Duration) {
	l.t.Helper()
	if !await(settling, func() bool { return l.readsAndRefuses(gone, true) }) {
		l.fail(errors.New("without a key service reads do not go on, or changes are not refused"))
	}
}

// stopKMS takes the key service away at a moment at which every node has the key of a current version, so that reads can go
// on. A change that was under way may replace just those versions; then the service comes back, and is taken away again.
func (l *load) stopKMS(k *kmstest.Server) {
	l.t.Helper()
	for range 20 {
		back := l.h.mark("the key service is there")
		if !await(settling, func() bool { return l.readsSince(back) >= 20 }) {
			l.fail(errors.New("a node does not read"))
		}
		l.awaitKeyed(back)
		k.Stop()
		gone := l.h.mark("the key service stops")
		if await(5*time.Second, func() bool { return l.readsSince(gone) > 0 }) {
			return
		}
		l.must(k.Start())
	}
	l.fail(errors.New("no moment was found at which every node had a key"))
}

// readsSince returns how many reads the node had that had the fewest, of those sent since then that were answered.
func (l *load) readsSince(then time.Duration) int {
	reads := make([]int, size)
	for _, e := range l.h.all() {
		if e.Call >= then && e.In.Kind == local && e.Out.Outcome == ok {
			reads[e.Node]++
		}
	}
	return min(reads[0], reads[1], reads[2])
}

// awaitKeyed returns when clients of every node had changes acknowledged that needed a key, asked for after back.
func (l *load) awaitKeyed(back time.Duration) {
	l.t.Helper()
	l.awaitMatching(5, back, entry.keyed, l.c.nodes...)
}

// withoutKMS is a scenario with a key service that f may take away.
func withoutKMS(f func(*kmstest.Server) fault) func(*testing.T) {
	return func(t *testing.T) {
		c := whole(t)
		k := withKMS(t, c)
		l := startLoad(t, c, 1)
		l.suffer(f(k))
	}
}
