package vault_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestRefusalCauses: each refusal counts once, under why it was one.
func TestRefusalCauses(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	d.mustCreate(t, "b", marker)
	d.store.AddRole("dropped")
	app, of := d.tokenOf(t, "app", "app"), func(r vault.TokenRequest) vault.Caller {
		made, _, err := d.NewToken(t.Context(), d.admin, r)
		if err != nil {
			t.Fatal(err)
		}
		return vault.Caller{Addr: d.reader.Addr, Bearer: vault.Bearer(made.Reveal())}
	}
	dropped := d.another(t, "dropped", "dropped")
	d.store.DropRole("dropped")
	short := of(vault.TokenRequest{Name: "short", Role: "app", TTL: time.Second})
	*d.now = d.now.Add(2 * time.Second)
	scoped := of(vault.TokenRequest{Name: "scoped", Role: "app", TTL: time.Hour, Scope: vault.Scope{{Pattern: "a", Actions: []string{"verify"}}}})
	guess := vault.Caller{Addr: d.reader.Addr, Bearer: vault.Bearer("hvt_" + strings.Repeat("A", 43))}
	read := func(c vault.Caller, name string) error {
		v, err := d.Read(t.Context(), c, name, 0)
		v.Wipe()
		return err
	}
	for want, try := range map[vault.Cause]func() error{
		"":                        func() error { return read(app, "a") },
		vault.CauseGrant:          func() error { return read(app, "b") },
		vault.CauseScope:          func() error { return read(scoped, "a") },
		vault.CauseTokenExpired:   func() error { return read(short, "a") },
		vault.CauseTokenUnknown:   func() error { return read(guess, "a") },
		vault.CauseTokenMalformed: func() error { return read(vault.Caller{Addr: d.reader.Addr, Bearer: "x"}, "a") },
		vault.CauseRoleMissing:    func() error { return read(dropped, "a") },
		vault.CauseAddress:        func() error { return read(d.admin, "a") },
		vault.CauseTokenMissing:   func() error { _, err := d.Delete(t.Context(), d.reader, "a", 1); return err },
		vault.CauseTransport: func() error {
			return d.Refuse(d.reader, vault.ActionRead, "a", core.Errorf(core.Denied, "x"))
		},
	} {
		before := d.Refusals()
		err := try()
		after := d.Refusals()
		if want == "" != (err == nil) {
			t.Errorf("%s: %v", want, err)
		}
		if want != "" {
			before[want]++
		}
		if diff := cmp.Diff(fmt.Sprint(before), fmt.Sprint(after)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", want, diff)
		}
	}
	t.Run("Batch", func(t *testing.T) {
		before := d.Refusals()[vault.CauseGrant]
		out, err := d.BatchRead(t.Context(), app, []string{"a", "b", "b", "none"})
		if err != nil {
			t.Fatal(err)
		}
		out.Wipe()
		if n := d.Refusals()[vault.CauseGrant] - before; n != 2 {
			t.Errorf("%d refused, want 2: b and none", n)
		}
	})
	t.Run("Change", func(t *testing.T) { // the store decides with the change itself
		before := d.Refusals()[vault.CauseGrant]
		if _, err := d.Update(t.Context(), app, vault.UpdateRequest{Name: "b", Expected: 1, Value: []byte("x")}); core.CodeOf(err) != core.Denied {
			t.Error(err)
		}
		if n := d.Refusals()[vault.CauseGrant] - before; n != 1 {
			t.Errorf("%d refused, want 1", n)
		}
	})
}
