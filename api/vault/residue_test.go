package vault_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// noRecord makes every record of a success fail, or panic.
func noRecord(panics bool) func(vault.Entry) error {
	return func(e vault.Entry) error {
		switch {
		case e.Outcome != vault.OutcomeOK:
			return nil
		case panics:
			panic("the recorder broke")
		}
		return errors.New("disk full")
	}
}

// TestOpenedValuesAreWiped: whatever opens a value and does not return it leaves no copy of it in memory.
func TestOpenedValuesAreWiped(t *testing.T) {
	for name, read := range map[string]func(context.Context, *door) error{
		"Read": func(ctx context.Context, d *door) error {
			_, err := d.Read(ctx, d.reader, "r/1", 0)
			return err
		},
		"BatchRead": func(ctx context.Context, d *door) error {
			_, err := d.BatchRead(ctx, d.reader, []string{"r/1", "r/1"})
			return err
		},
		"Recover": func(ctx context.Context, d *door) error {
			_, err := d.Recover(ctx, vault.Operator{Name: "root"}, "r/1", 0)
			return err
		},
		"Verify": func(ctx context.Context, d *door) error {
			_, err := d.Verify(ctx, d.reader, "r/1", []byte("x"))
			return err
		},
	} {
		for _, panics := range []bool{false, true} {
			d := newDoor(t)
			v := residue.New(t, 64)
			d.createFrom(t, v.Bytes(), nil)
			v.Want(0, name+" before")
			d.recorder.FailWith(noRecord(panics))
			var err error
			if broke := runs(func() { err = read(t.Context(), d) }); broke != panics || !panics && err == nil {
				t.Fatalf("%s: %v, panic %v", name, err, broke)
			}
			v.Want(0, name)
		}
	}
}

func mustAllow(t *testing.T) allowlist.List {
	t.Helper()
	l, err := allowlist.Parse("10.0.0.0/8")
	wantCode(t, err, "")
	return l
}

func (d *door) createFrom(t *testing.T, value []byte, p *generate.Policy) {
	t.Helper()
	r := vault.CreateRequest{Name: "r/1", Value: value}
	if p != nil {
		r.ContentType, r.GeneratePolicy, r.Kind, r.RotationIntervalSecs = string(core.JSON), p, string(core.Automatic), 60
	}
	if _, err := d.Create(t.Context(), d.admin, r); err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
}

// TestBatchWipesWhatItDrops: a batch that ends in a panic, and values that find no room in one, are wiped.
func TestBatchWipesWhatItDrops(t *testing.T) {
	t.Run("panic", func(t *testing.T) {
		d := newDoor(t)
		v := residue.New(t, 64)
		d.createFrom(t, v.Bytes(), nil)
		d.mustCreate(t, "r/2", "x")
		n := 0
		d.keeper.FailWith(func(op string) error {
			if n++; op == "unwrap" && n > 1 {
				panic("the keeper broke")
			}
			return nil
		})
		if !runs(func() { _, _ = d.BatchRead(t.Context(), d.reader, []string{"r/1", "r/2"}) }) {
			t.Fatal("no panic")
		}
		v.Want(0, "after the panic")
	})
	t.Run("no room", func(t *testing.T) {
		d := newDoor(t)
		v := residue.New(t, 64)
		d.createFrom(t, v.Bytes(), nil)
		large, err := vault.New(vault.Config{Store: d.store, Keeper: d.keeper, Recorder: d.recorder, Node: "n", Database: "app",
			Allow: mustAllow(t), MaxValueLen: core.MaxValueLen})
		wantCode(t, err, "")
		_, err = large.Create(t.Context(), d.admin, vault.CreateRequest{Name: "m", Value: bytes.Repeat([]byte("x"), core.MaxValueLen)})
		wantCode(t, err, "")
		names := append(slices.Repeat([]string{"m"}, vault.MaxBatchBytes/core.MaxValueLen), "r/1")
		b, err := large.BatchRead(t.Context(), d.reader, names)
		wantCode(t, err, "")
		if core.CodeOf(b[len(b)-1].Err) != core.TooLarge {
			t.Fatalf("the last one had room: %v", b[len(b)-1].Err)
		}
		v.Want(0, "what found no room")
		b.Wipe()
	})
}

// TestGeneratedValuesAreWiped: a value that was generated is nowhere but in the answer to a read.
func TestGeneratedValuesAreWiped(t *testing.T) {
	for name, change := range map[string]func(context.Context, *door) error{
		"create": func(ctx context.Context, d *door) error { return nil },
		"rotate": func(ctx context.Context, d *door) error {
			_, err := d.Rotate(ctx, d.admin, vault.RotateRequest{Name: "r/1"})
			return err
		},
		"due": func(ctx context.Context, d *door) error {
			*d.now = d.now.Add(time.Hour)
			claims, err := d.ClaimRotations(ctx, "w", time.Minute, 1)
			if err != nil || len(claims) != 1 {
				return errors.Join(err, errors.New("no claim"))
			}
			_, err = d.CompleteRotation(ctx, claims[0])
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			residue.New(t, 32).Want(0, "at first") // the collector takes nothing away from here on
			_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "r/1", Kind: string(core.Automatic), RotationIntervalSecs: 60})
			if err == nil {
				err = change(t.Context(), d)
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Read(t.Context(), d.reader, "r/1", 0)
			if err != nil {
				t.Fatal(err)
			}
			v := residue.Of(t, got.Plain)
			got.Wipe()
			v.Want(0, "a generated value")
		})
	}
}

// TestFieldRotationWipes: a rotation of one field opens the value that it replaces, and wipes it.
func TestFieldRotationWipes(t *testing.T) {
	d := newDoor(t)
	v := residue.New(t, 64)
	p := generate.Default()
	p.JSONField = "password"
	d.createFrom(t, v.Within(`{"password":"`, `"}`), &p)
	v.Want(0, "before")
	if _, err := d.Rotate(t.Context(), d.admin, vault.RotateRequest{Name: "r/1"}); err != nil {
		t.Fatal(err)
	}
	v.Want(0, "after the rotation")
}

// TestKeyOfAMismatchIsWiped: a data key that was made although what is stored does not open is wiped.
func TestKeyOfAMismatchIsWiped(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "r/1", "x")
	*d.now = d.now.Add(time.Hour)
	d.refuseKeys(-1, core.Denied)
	d.keysCheck(t)
	before, _ := d.keeper.HandedOut()
	wantCode(t, d.create(t, "r/2"), core.Unavailable)
	if after, unwiped := d.keeper.HandedOut(); after == before || unwiped != 0 {
		t.Errorf("%d keys were made, %d are not wiped", after-before, unwiped)
	}
}
