package vault_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// rebindOnce has a pair be bound with the roles a and c while its first change is on its way.
func (d *door) rebindOnce(t *testing.T, change string) {
	t.Helper()
	rebound := false
	d.store.FailWith(func(op string) error {
		if op != change || rebound {
			return nil
		}
		rebound = true
		_, err := d.UnbindRole(t.Context(), d.admin, "pair")
		if err == nil {
			_, err = d.BindRole(t.Context(), d.admin, vault.RoleRequest{Name: "pair", Pair: []string{"a", "c"}})
		}
		return err
	})
}

// TestPairIsBoundAgainDuringAChange: the value of the next version names the role that gets its password, also if another one has
// become the next role between the look and the change.
func TestPairIsBoundAgainDuringAChange(t *testing.T) {
	bound := func(t *testing.T) *door {
		d := newDoor(t)
		policy := generate.Default()
		policy.JSONField = "password"
		_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{
			Name: "pair", ContentType: string(core.JSON), Value: []byte(`{"username":"a","password":"one"}`), GeneratePolicy: &policy,
		})
		if err == nil {
			_, err = d.BindRole(t.Context(), d.admin, vault.RoleRequest{Name: "pair", Pair: []string{"a", "b"}})
		}
		wantCode(t, err, "")
		return d
	}
	t.Run("OK", func(t *testing.T) {
		d := bound(t)
		d.rebindOnce(t, "AppendVersion")
		made, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "pair", Expected: vault.AnyVersion})
		wantCode(t, err, "")
		read, err := d.Read(t.Context(), d.reader, "pair", 0)
		wantCode(t, err, "")
		var login struct{ Username string }
		if err := json.Unmarshal(read.Plain, &login); err != nil || login.Username != "c" || made.CurrentVersion != 2 || d.store.Verifier("pair", "c") == "" {
			t.Errorf("version %d names %q: %v", made.CurrentVersion, login.Username, err)
		}
	})
	t.Run("ErrStale", func(t *testing.T) {
		d := bound(t)
		d.rebindOnce(t, "AppendVersion")
		_, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "pair", Value: []byte(`{"username":"b","password":"two"}`), Expected: 1})
		wantCode(t, err, core.Stale)
		if !errors.Is(err, vault.ErrBound) || d.store.Verifier("pair", "c") != "" {
			t.Errorf("the new role got the password of a value that names another: %v", err)
		}
	})
}
