package vault_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

func TestReady(t *testing.T) {
	d := newDoor(t)
	for _, c := range d.Ready(t.Context()) {
		if c.Err != nil {
			t.Errorf("%s: %v", c.Name, c.Err)
		}
	}
	away := errors.New("away")
	d.keeper.FailWith(func(string) error { return away })
	d.store.FailWith(func(string) error { return away })
	var failing []string
	for _, c := range d.Ready(t.Context()) {
		if c.Err != nil {
			failing = append(failing, c.Name)
		}
	}
	if !slices.Equal(failing, []string{"reader", "writer", "keys"}) {
		t.Error(failing)
	}
}

// holder is a keeper that holds n keys.
type holder struct {
	vault.Keeper
	n int
}

func (h holder) Held() int { return h.n }

func TestReadyDegraded(t *testing.T) {
	d := newDoor(t)
	degraded := func(k vault.Keeper) bool {
		t.Helper()
		v, err := vault.New(vault.Config{Store: d.store, Keeper: k, Recorder: d.recorder, Node: "n", Database: "d"})
		if err != nil {
			t.Fatal(err)
		}
		checks := v.Ready(t.Context())
		return checks[2].Name == "keys" && checks[2].Degraded
	}
	if degraded(holder{d.keeper, 5}) {
		t.Error("a keeper that is there is degraded")
	}
	d.keeper.FailWith(func(string) error { return errors.New("away") })
	if degraded(d.keeper) || degraded(holder{d.keeper, 0}) || !degraded(holder{d.keeper, 1}) {
		t.Error("a keeper that is away is degraded while it holds keys")
	}
}

// journal is a recorder that keeps its records until there is a primary.
type journal struct {
	vault.Recorder
	err error // of Check
}

func (j journal) AuditState() vault.AuditState { return vault.AuditState{Pending: 7} }

func (j journal) Check(context.Context) error { return j.err }

func (d *door) withJournal(t *testing.T, j journal) *vault.Vault {
	t.Helper()
	j.Recorder = d.recorder
	allow, err := allowlist.Parse("0.0.0.0/0,::/0")
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.New(vault.Config{Store: d.store, Keeper: d.keeper, Recorder: j, Node: "n", Database: "d", Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestReadyWithJournal: without the primary a node that has a journal reads on; without the journal no node does.
func TestReadyWithJournal(t *testing.T) {
	d := newDoor(t)
	state := func(v *vault.Vault) (out []string) {
		for _, c := range v.Ready(t.Context()) {
			switch {
			case c.Degraded:
				out = append(out, c.Name+" degraded")
			case c.Err != nil:
				out = append(out, c.Name+" away")
			}
		}
		return out
	}
	if got := state(d.withJournal(t, journal{})); got != nil {
		t.Error(got)
	}
	if got := state(d.withJournal(t, journal{err: errors.New("full")})); !slices.Equal(got, []string{"journal away"}) {
		t.Error(got)
	}
	d.store.FailWith(func(op string) error {
		if op == "CheckWriter" {
			return errors.New("away")
		}
		return nil
	})
	if got := state(d.withJournal(t, journal{})); !slices.Equal(got, []string{"writer degraded"}) {
		t.Error(got)
	}
	d.store.FailWith(func(string) error { return errors.New("away") })
	if got := state(d.withJournal(t, journal{})); !slices.Equal(got, []string{"reader away", "writer degraded"}) {
		t.Error(got)
	}
}

// silent is a keeper that answers when its caller gives up.
type silent struct{ vault.Keeper }

func (silent) Check(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// TestReadyIsBounded: a part that is silent takes no other's time, and the whole ends.
func TestReadyIsBounded(t *testing.T) {
	d := newDoor(t)
	v, err := vault.New(vault.Config{Store: d.store, Keeper: silent{d.keeper}, Recorder: d.recorder, Node: "n", Database: "d"})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for _, c := range v.Ready(t.Context()) {
			if (c.Err != nil) != (c.Name == "keys") {
				t.Errorf("%s: %v", c.Name, c.Err)
			}
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestStatusOfTheJournal(t *testing.T) {
	d := newDoor(t)
	s, err := d.withJournal(t, journal{}).Status(t.Context(), d.reader)
	if err != nil || s.Audit == nil || s.Audit.Pending != 7 {
		t.Errorf("%+v %v", s.Audit, err)
	}
	if s, err := d.Status(t.Context(), d.reader); err != nil || s.Audit != nil {
		t.Errorf("%+v %v", s.Audit, err)
	}
}
