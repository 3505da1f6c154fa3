package clustertest

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
)

// withKMS has the APIs use a key service that can be taken away, for the length of the test.
func withKMS(t *testing.T, c *cluster) *kmstest.Server {
	t.Helper()
	k, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"VAULT_KMS_MODE=aws", "VAULT_KMS_KEY_ID=" + k.CreateKey(), "VAULT_KMS_MAX_RETRIES=1"}
	for name, value := range k.Environ() {
		env = append(env, name+"="+value)
	}
	t.Cleanup(func() {
		if err := c.restartAPIs(nil); err != nil {
			t.Error(err)
		}
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

// loseKMS takes the key service away: changes are refused, reads of what is cached go on.
func loseKMS(k *kmstest.Server) fault {
	return func(l *load) []string {
		k.Stop()
		gone := l.h.mark("the key service is away")
		if !await(settling, func() bool { return l.readsAndRefuses(gone, true) }) {
			l.fail(errors.New("without a key service reads do not go on, or changes are not refused"))
		}
		back := l.h.mark("the key service is back")
		l.must(k.Start())
		l.awaitChanges(5, l.c.nodes...)
		return []string{"key service back: " + l.pause(back)}
	}
}

// kmsAway: without the key service what was read before can still be read on every node, and nothing can be changed.
func kmsAway(t *testing.T) {
	c := whole(t)
	k := withKMS(t, c)
	l := startLoad(t, c, 1)
	l.awaitChanges(10, l.c.nodes...)
	figures := loseKMS(k)(l)
	l.print(l.verify(), nil, figures...)
}

// failoverWithoutKMS: the primary dies while the key service is away; reads of what is cached go on, changes come when both are back.
func failoverWithoutKMS(t *testing.T) {
	c := whole(t)
	k := withKMS(t, c)
	l := startLoad(t, c, 1)
	l.awaitChanges(10, l.c.nodes...)
	old := l.primary()
	k.Stop()
	at := l.h.mark("the key service is away and %s dies", old.name)
	l.must(old.kill(false))
	l.takeover(old)
	if !await(settling, func() bool { return l.readsAndRefuses(at, true) }) {
		l.fail(errors.New("reads do not go on, or changes are not refused"))
	}
	l.must(k.Start())
	l.awaitChanges(5, l.c.nodes...)
	l.must(old.revive())
	l.must(l.c.awaitWhole())
	l.broken(old, at)
	l.print(l.verify(), nil, fmt.Sprintf("primary and key service away together, %s", l.pause(at)))
}
