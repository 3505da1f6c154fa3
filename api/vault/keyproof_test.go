package vault_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// keysCheck returns the check of the keys.
func (d *door) keysCheck(t *testing.T) vault.Check {
	t.Helper()
	for _, c := range d.Ready(t.Context()) {
		if c.Name == "keys" {
			return c
		}
	}
	t.Fatal("no check of the keys")
	return vault.Check{}
}

// refuseKeys has the keeper refuse to unwrap as one that has another master key, n times or, below 0, always.
func (d *door) refuseKeys(n int, code core.Code) {
	d.keeper.FailWith(func(op string) error {
		if op != "unwrap" || n == 0 {
			return nil
		}
		n--
		return core.Errorf(code, "it was wrapped under another master key")
	})
}

// create stores a secret by REST and returns the error.
func (d *door) create(t *testing.T, name string) error {
	_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: name, Kind: "manual", Value: []byte(marker)})
	return err
}

func TestKeysOfAnEmptyVault(t *testing.T) {
	d := newDoor(t)
	d.refuseKeys(-1, core.Denied)
	if c := d.keysCheck(t); c.Err != nil || len(c.Conditions) != 0 {
		t.Errorf("%+v", c)
	}
	if err := d.create(t, "a"); err != nil {
		t.Error(err)
	}
}

// TestKeyMismatch: a process whose keeper does not open what is stored writes nothing, and says why until it does.
func TestKeyMismatch(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	*d.now = d.now.Add(time.Hour)
	d.refuseKeys(-1, core.Denied)
	c := d.keysCheck(t)
	if core.CodeOf(c.Err) != core.Unavailable || c.Degraded || !slices.Equal(c.Conditions, []string{vault.ConditionKeyMismatch}) || !strings.Contains(c.Err.Error(), "test-key") {
		t.Fatalf("%+v", c)
	}
	err := d.create(t, "b")
	wantCode(t, err, core.Unavailable)
	if !strings.Contains(core.MessageOf(err), "test-key") {
		t.Errorf("the key is not named: %s", core.MessageOf(err))
	}
	caller := vault.SQLCaller{Database: "app", Role: "app", SessionRole: "app"}
	_, err = d.GenerateForSQL(t.Context(), caller, vault.SQLGenerate{ID: core.SecretID{1}, Version: 1, Name: "b"})
	wantCode(t, err, core.Unavailable)
	_, err = d.Read(t.Context(), d.reader, "a", 0)
	wantCode(t, err, core.Unavailable) // the caller is allowed to read
	if _, err := d.ClaimRotations(t.Context(), "w", time.Minute, 1); core.CodeOf(err) != core.Unavailable {
		t.Errorf("rotations go on: %v", err)
	}
	d.keeper.FailWith(nil)
	*d.now = d.now.Add(time.Minute)
	if err := d.create(t, "b"); err != nil {
		t.Fatal(err)
	}
	if c := d.keysCheck(t); c.Err != nil || len(c.Conditions) != 0 {
		t.Errorf("%+v", c)
	}
}

// TestWriteProvesTheKeys: the first change does not wait for a request for readiness.
func TestWriteProvesTheKeys(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	other := *d
	other.Vault = d.withJournal(t, journal{})
	d.refuseKeys(-1, core.Denied)
	wantCode(t, other.create(t, "b"), core.Unavailable)
}

// TestFewRowsDoNotOpen: what one row says is not said of all.
func TestFewRowsDoNotOpen(t *testing.T) {
	for code, want := range map[core.Code][]string{core.Corrupt: nil, core.Denied: {vault.ConditionKeyPartial}} {
		d := newDoor(t)
		for i := range 5 {
			d.mustCreate(t, fmt.Sprintf("s%d", i), marker)
		}
		*d.now = d.now.Add(time.Hour)
		d.refuseKeys(1, code)
		c := d.keysCheck(t)
		if !slices.Equal(c.Conditions, want) || (c.Err != nil) != (want != nil) || c.Err != nil && !c.Degraded {
			t.Errorf("%s: %+v", code, c)
		}
		if err := d.create(t, "new"); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestConditionsHaveASince(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	*d.now = d.now.Add(time.Hour)
	d.refuseKeys(-1, core.Denied)
	d.keysCheck(t)
	began := *d.now
	*d.now = d.now.Add(time.Second)
	s, err := d.Status(t.Context(), d.reader)
	if err != nil || len(s.Conditions) != 1 || !s.Conditions[0].Since.Equal(began) {
		t.Errorf("%+v %v", s.Conditions, err)
	}
}
