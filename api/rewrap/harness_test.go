package rewrap_test

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/rewrap"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is a Vault on fakes, with a job of its own and one admin token.
type door struct {
	*vault.Vault
	job      *rewrap.Job
	store    *doortest.Store
	keeper   *doortest.Keeper
	recorder *doortest.Recorder
	admin    vault.Caller
	reader   vault.Caller
}

func openDoor(t *testing.T, m *mover) *door {
	t.Helper()
	d := &door{keeper: &doortest.Keeper{}, recorder: &doortest.Recorder{}, job: rewrap.New(nil)}
	d.store = &doortest.Store{Recorder: d.recorder, Now: time.Now}
	m.Keeper = d.keeper
	d.reopen(t, m)
	tok, err := d.CreateToken(t.Context(), operator, "ops", 0)
	if err != nil {
		t.Fatal(err)
	}
	d.admin = vault.Caller{Addr: netip.MustParseAddr("192.0.2.1"), Bearer: vault.Bearer(tok.Reveal())}
	d.reader = vault.Caller{Addr: netip.MustParseAddr("10.1.2.3")}
	return d
}

// reopen gives the door another keeper.
func (d *door) reopen(t *testing.T, k vault.Keeper) {
	t.Helper()
	var err error
	d.Vault, err = vault.New(vault.Config{Store: d.store, Keeper: k, Recorder: d.recorder, Node: "n", Database: "d", Rewraps: d.job})
	if err != nil {
		t.Fatal(err)
	}
}

func (d *door) mustCreate(t *testing.T, name string) {
	t.Helper()
	if _, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: name, Value: []byte("1"), GracePeriodSecs: 60}); err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
}

func wantCode(t *testing.T, err error, want core.Code) {
	t.Helper()
	if got := core.CodeOf(err); got != want {
		t.Fatalf("code %q, want %q (%v)", got, want, err)
	}
}
