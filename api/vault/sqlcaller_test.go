package vault_test

import (
	"errors"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

var backend = vault.SQLCaller{Database: "app", Role: "app_rw", SessionRole: "login", ClientAddr: "::ffff:10.9.8.7", RequestID: "pid-1"}

// generated returns a wrapped key of the version, whose plain form is wiped.
func (d *door) wrappedKey(t *testing.T, id core.SecretID, version uint64) vault.VersionedKey {
	t.Helper()
	k, err := d.GenerateForSQL(t.Context(), backend, vault.SQLGenerate{ID: id, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	envelope.Wipe(k.Plain)
	return vault.VersionedKey{Version: version, WrappedKey: k.WrappedKey}
}

func TestGenerateForSQL(t *testing.T) {
	d := newDoor(t)
	id := core.SecretID{7}
	t.Run("OKIsRecordedByTheChange", func(t *testing.T) {
		k, err := d.GenerateForSQL(t.Context(), backend, vault.SQLGenerate{ID: id, Version: 1})
		if err != nil || len(k.Plain) != envelope.KeySize || len(d.recorder.Take()) != 0 {
			t.Fatal(err)
		}
		envelope.Wipe(k.Plain)
	})
	t.Run("ErrKeeper", func(t *testing.T) {
		d.keeper.FailWith(func(string) error { return core.Errorf(core.Unavailable, "away") })
		defer d.keeper.FailWith(nil)
		_, err := d.GenerateForSQL(t.Context(), backend, vault.SQLGenerate{ID: id, Version: 2, Name: "a"})
		wantCode(t, err, core.Unavailable)
		e := d.one(t)
		if e.Action != vault.ActionUpdate || e.Origin.Actor != "role:app_rw" || e.Origin.SessionRole != "login" ||
			e.Origin.ClientIP.String() != "10.9.8.7" || e.Code != core.Unavailable {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("ErrInvalid", func(t *testing.T) {
		_, err := d.GenerateForSQL(t.Context(), backend, vault.SQLGenerate{ID: id})
		wantCode(t, err, core.Invalid)
		_, err = d.GenerateForSQL(t.Context(), backend, vault.SQLGenerate{ID: id, Version: 1, Action: vault.ActionRead})
		wantCode(t, err, core.Invalid)
	})
}

func TestUnwrapForSQL(t *testing.T) {
	d := newDoor(t)
	id := core.SecretID{7}
	k1, k2 := d.wrappedKey(t, id, 1), d.wrappedKey(t, id, 2)
	t.Run("OKRead", func(t *testing.T) {
		keys, err := d.UnwrapForSQL(t.Context(), backend, vault.SQLUnwrap{Action: vault.ActionRead, Name: "a/b", ID: id, Keys: []vault.VersionedKey{k2}})
		if err != nil || len(keys) != 1 || len(keys[0]) != envelope.KeySize {
			t.Fatal(err)
		}
		if e := d.one(t); e.Outcome != vault.OutcomeOK || e.Action != vault.ActionRead || e.Name != "a/b" || e.Version != 2 || e.Origin.Actor != "role:app_rw" {
			t.Fatalf("%+v", e)
		}
		envelope.Wipe(keys[0])
	})
	t.Run("OKVerify", func(t *testing.T) {
		keys, err := d.UnwrapForSQL(t.Context(), backend, vault.SQLUnwrap{Action: vault.ActionVerify, Name: "a/b", ID: id, Keys: []vault.VersionedKey{k2, k1}})
		if err != nil || len(keys) != 2 {
			t.Fatal(err)
		}
		if e := d.one(t); e.Action != vault.ActionVerify || e.Outcome != vault.OutcomeOK {
			t.Fatalf("%+v", e)
		}
		envelope.Wipe(keys[0])
		envelope.Wipe(keys[1])
	})
	many := make([]vault.VersionedKey, vault.MaxUnwrap+1)
	for name, u := range map[string]vault.SQLUnwrap{
		"no keys":        {Action: vault.ActionVerify, Name: "a", ID: id},
		"too many keys":  {Action: vault.ActionVerify, Name: "a", ID: id, Keys: many},
		"two for a read": {Action: vault.ActionRead, Name: "a", ID: id, Keys: []vault.VersionedKey{k1, k2}},
		"other action":   {Action: vault.ActionDelete, Name: "a", ID: id, Keys: []vault.VersionedKey{k1}},
		"bad name":       {Action: vault.ActionRead, Name: "a//b", ID: id, Keys: []vault.VersionedKey{k1}},
	} {
		t.Run("Err "+name, func(t *testing.T) {
			_, err := d.UnwrapForSQL(t.Context(), backend, u)
			wantCode(t, err, core.Invalid)
			if e := d.one(t); e.Outcome != vault.OutcomeFailed {
				t.Fatalf("%+v", e)
			}
		})
	}
	t.Run("ErrCorruptWipesAll", func(t *testing.T) {
		swapped := k2
		swapped.Version = 1
		_, err := d.UnwrapForSQL(t.Context(), backend, vault.SQLUnwrap{Action: vault.ActionVerify, Name: "a", ID: id, Keys: []vault.VersionedKey{k1, swapped}})
		wantCode(t, err, core.Corrupt)
		if e := d.one(t); e.Code != core.Corrupt {
			t.Fatalf("%+v", e)
		}
	})
	u := vault.SQLUnwrap{Action: vault.ActionVerify, Name: "a", ID: id, Keys: []vault.VersionedKey{k1, k2}}
	t.Run("ErrRecorder", func(t *testing.T) {
		d.recorder.FailWith(func(vault.Entry) error { return errors.New("full") })
		defer d.recorder.FailWith(nil)
		keys, err := d.UnwrapForSQL(t.Context(), backend, u)
		wantCode(t, err, core.Unavailable)
		if keys != nil {
			t.Error("keys left without a record")
		}
	})
	t.Run("PanicRecorder", func(t *testing.T) {
		d.recorder.FailWith(func(e vault.Entry) error {
			if e.Outcome == vault.OutcomeOK {
				panic("x")
			}
			return nil
		})
		defer d.recorder.FailWith(nil)
		if !runs(func() { _, _ = d.UnwrapForSQL(t.Context(), backend, u) }) {
			t.Error("no panic")
		}
	})
	if _, unwiped := d.keeper.HandedOut(); unwiped != 0 {
		t.Errorf("%d keys not wiped", unwiped)
	}
}

func TestReadEachForSQL(t *testing.T) {
	d := newDoor(t)
	id := core.SecretID{7}
	k1, k2 := d.wrappedKey(t, id, 1), d.wrappedKey(t, id, 2)
	swapped := vault.VersionedKey{Version: 1, WrappedKey: k2.WrappedKey}
	items := []vault.SQLItem{
		{Name: "a", ID: id, Key: k1},
		{Name: "b", Code: core.Denied},
		{Name: "c", ID: id, Key: swapped},
		{Name: "d", ID: id, Key: k2},
		{Code: core.Invalid},
	}
	t.Run("OK", func(t *testing.T) {
		keys, err := d.ReadEachForSQL(t.Context(), backend, items)
		if err != nil || len(keys) != len(items) {
			t.Fatal(err)
		}
		entries := d.recorder.Take()
		if len(entries) != len(items) {
			t.Fatalf("%d records", len(entries))
		}
		for i, code := range []core.Code{"", core.Denied, core.Corrupt, "", core.Invalid} {
			e := entries[i]
			if e.Action != vault.ActionRead || e.Name != items[i].Name || e.Version != items[i].Key.Version || e.Code != code ||
				(e.Outcome == vault.OutcomeOK) != (code == "") || e.Origin.Actor != "role:app_rw" {
				t.Errorf("%+v", e)
			}
			if core.CodeOf(keys[i].Err) != code || (len(keys[i].Plain) == envelope.KeySize) != (code == "") {
				t.Errorf("%d: a key of %d, %v", i, len(keys[i].Plain), keys[i].Err)
			}
			envelope.Wipe(keys[i].Plain)
		}
	})
	for name, many := range map[string][]vault.SQLItem{"none": nil, "too many": make([]vault.SQLItem, vault.MaxReadEach+1)} {
		t.Run("Err "+name, func(t *testing.T) {
			_, err := d.ReadEachForSQL(t.Context(), backend, many)
			wantCode(t, err, core.Invalid)
			if e := d.one(t); e.Outcome != vault.OutcomeFailed {
				t.Fatalf("%+v", e)
			}
		})
	}
	t.Run("ErrRecorder", func(t *testing.T) {
		d.recorder.FailWith(func(e vault.Entry) error { return errors.New("full") })
		defer d.recorder.FailWith(nil)
		keys, err := d.ReadEachForSQL(t.Context(), backend, items)
		wantCode(t, err, core.Unavailable)
		if keys != nil {
			t.Error("keys left without a record")
		}
	})
	t.Run("ErrDatabase", func(t *testing.T) {
		other := backend
		other.Database = "other"
		keys, err := d.ReadEachForSQL(t.Context(), other, items)
		wantCode(t, err, core.Denied)
		if keys != nil {
			t.Error("keys left for another database")
		}
	})
	if _, unwiped := d.keeper.HandedOut(); unwiped != 0 {
		t.Errorf("%d keys not wiped", unwiped)
	}
}

func TestRecordForSQL(t *testing.T) {
	d := newDoor(t)
	good := vault.SQLAttempt{Action: vault.ActionRead, Name: "a", Version: 3, Outcome: vault.OutcomeDenied, Code: core.Denied}
	t.Run("OK", func(t *testing.T) {
		wantCode(t, d.RecordForSQL(t.Context(), backend, good), "")
		if e := d.one(t); e.Outcome != vault.OutcomeDenied || e.Code != core.Denied || e.Version != 3 || e.Name != "a" {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("OK list", func(t *testing.T) {
		list := vault.SQLAttempt{Action: vault.ActionList, Name: "a/", Outcome: vault.OutcomeOK}
		wantCode(t, d.RecordForSQL(t.Context(), backend, list), "")
		d.one(t)
	})
	t.Run("OK a query of the audit", func(t *testing.T) {
		look := vault.SQLAttempt{Action: vault.ActionAudit, Name: "a/", Outcome: vault.OutcomeOK}
		wantCode(t, d.RecordForSQL(t.Context(), backend, look), "")
		if e := d.one(t); e.Name != "a/" {
			t.Errorf("%+v", e)
		}
	})
	t.Run("OK refused grant", func(t *testing.T) {
		grant := vault.SQLAttempt{Action: vault.ActionGrant, Name: "read on a/* to app", Outcome: vault.OutcomeFailed, Code: core.Unavailable}
		wantCode(t, d.RecordForSQL(t.Context(), backend, grant), "")
		if e := d.one(t); e.Name != grant.Name {
			t.Errorf("%+v", e)
		}
	})
	for _, action := range []vault.Action{vault.ActionTokenCreate, vault.ActionTokenRenew, vault.ActionTokenRevoke} {
		t.Run("OK failed "+string(action), func(t *testing.T) {
			try := vault.SQLAttempt{Action: action, Name: "ci", Outcome: vault.OutcomeFailed, Code: core.Unavailable}
			wantCode(t, d.RecordForSQL(t.Context(), backend, try), "")
			if e := d.one(t); e.Action != action || e.Name != "ci" {
				t.Errorf("%+v", e)
			}
		})
	}
	for name, change := range map[string]func(*vault.SQLAttempt){
		"ok grant":       func(a *vault.SQLAttempt) { a.Action, a.Outcome, a.Code = vault.ActionGrant, vault.OutcomeOK, "" },
		"ok":             func(a *vault.SQLAttempt) { a.Outcome, a.Code = vault.OutcomeOK, "" },
		"no code":        func(a *vault.SQLAttempt) { a.Code = "" },
		"unknown code":   func(a *vault.SQLAttempt) { a.Code = "x" },
		"unknown action": func(a *vault.SQLAttempt) { a.Action = "token_steal" },
	} {
		t.Run("Err "+name, func(t *testing.T) {
			a := good
			change(&a)
			wantCode(t, d.RecordForSQL(t.Context(), backend, a), core.Invalid)
		})
	}
	t.Run("ErrRecorder", func(t *testing.T) {
		d.recorder.FailWith(func(vault.Entry) error { return errors.New("full") })
		wantCode(t, d.RecordForSQL(t.Context(), backend, good), core.Unavailable)
	})
}

func TestSQLCallersOfAnotherDatabase(t *testing.T) {
	for name, want := range map[string]core.Code{"database": core.Denied, "role": core.Denied, "addr": core.Invalid} {
		c := backend
		switch name {
		case "database":
			c.Database = "other"
		case "role":
			c.Role = ""
		case "addr":
			c.ClientAddr = "nowhere"
		}
		d := newDoor(t)
		_, err := d.GenerateForSQL(t.Context(), c, vault.SQLGenerate{ID: core.SecretID{1}, Version: 1})
		wantCode(t, err, want)
		_, err = d.UnwrapForSQL(t.Context(), c, vault.SQLUnwrap{Action: vault.ActionRead, Name: "a", Keys: make([]vault.VersionedKey, 1)})
		wantCode(t, err, want)
		wantCode(t, d.RecordForSQL(t.Context(), c, vault.SQLAttempt{Action: vault.ActionRead, Outcome: vault.OutcomeFailed, Code: core.NotFound}), want)
		if n := len(d.recorder.Take()); n != 3 {
			t.Errorf("%s: %d records, want 3", name, n)
		}
		if all, _ := d.keeper.HandedOut(); all != 0 {
			t.Errorf("%s: the keeper was asked", name)
		}
	}
}
