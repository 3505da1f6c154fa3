package vault_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// limit puts a quota in force; want reads "OK" or a kind and a time to wait.
func (d *door) limit(t *testing.T, reads, verifies, changes string) {
	t.Helper()
	var l quota.Limits
	for s, to := range map[*quota.Rate]string{&l.Reads: reads, &l.Verifies: verifies, &l.Changes: changes} {
		r, err := quota.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		*s = r
	}
	d.SetQuota(l)
}

func over(err error) string {
	if o, ok := errors.AsType[*vault.OverQuota](err); ok && core.CodeOf(err) == core.TooMany {
		return fmt.Sprint(o.Kind, " ", o.RetryAfter)
	}
	return string(core.CodeOf(err))
}

// tokenOf makes a role with every action on "a" and a token of it.
func (d *door) tokenOf(t *testing.T, role, name string) vault.Caller {
	t.Helper()
	d.store.AddRole(role)
	d.store.GrantTo(role, "a", "read", "verify", "update")
	return d.another(t, role, name)
}

func (d *door) another(t *testing.T, role, name string) vault.Caller {
	t.Helper()
	made, _, err := d.NewToken(t.Context(), d.admin, vault.TokenRequest{Name: name, Role: role, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return vault.Caller{Addr: d.reader.Addr, Bearer: vault.Bearer(made.Reveal())}
}

// A batch read counts as many times as it has different names; one of more names than the quota takes all of it.
func TestQuotaOfBatchReads(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	one := d.tokenOf(t, "app", "app-1")
	d.limit(t, "4/m", "0", "0")
	read := func(names ...string) string {
		b, err := d.BatchRead(t.Context(), one, names)
		b.Wipe()
		return over(err)
	}
	for i, want := range []string{"", "reads 15s", "reads 30s"} {
		if got := read([][]string{{"a", "x", "y", "a"}, {"x", "a"}, {"x", "y", "a"}}[i]...); got != want {
			t.Errorf("batch %d: %q, want %q", i, got, want)
		}
	}
	*d.now = d.now.Add(time.Minute)
	if got := read("1", "2", "3", "4", "5", "6"); got != "" {
		t.Errorf("more names than the quota: %q", got)
	}
	if got := read("a"); got != "reads 15s" {
		t.Errorf("after it: %q", got)
	}
	if got := read("1", "2", "3", "4", "5", "6"); got != "reads 1m0s" {
		t.Errorf("more names again: %q", got)
	}
}

func TestQuotaOfReads(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	one, other := d.tokenOf(t, "app", "app-1"), d.another(t, "app", "app-2")
	d.limit(t, "2/m", "0", "0")
	read := func(c vault.Caller) string {
		v, err := d.Read(t.Context(), c, "a", 0)
		v.Wipe()
		return over(err)
	}
	for range 2 {
		for _, c := range []vault.Caller{one, other, d.reader} {
			if got := read(c); got != "" {
				t.Fatalf("within the quota: %s", got)
			}
		}
	}
	d.recorder.Take()
	for _, c := range []vault.Caller{one, other, d.reader} {
		if got := read(c); got != "reads 30s" {
			t.Errorf("over the quota: %q", got)
		}
		if e := d.one(t); e.Outcome != vault.OutcomeDenied || e.Code != core.TooMany || e.Name != "a" {
			t.Errorf("%+v", e)
		}
	}
	neighbour := vault.Caller{Addr: netip.MustParseAddr("10.9.9.9")}
	if got := read(neighbour); got != "" {
		t.Errorf("another address pays: %s", got)
	}
	if _, err := d.List(t.Context(), one, "", "", 0); over(err) != "reads 30s" {
		t.Errorf("a list is no read: %v", err)
	}
	if _, err := d.Update(t.Context(), one, vault.UpdateRequest{Name: "a", Expected: 1, Value: []byte("x")}); err != nil {
		t.Errorf("a change is a read: %v", err)
	}
	if n := d.OverQuotas(quota.Reads); n != 4 {
		t.Errorf("%d are counted", n)
	}
	d.limit(t, "0", "0", "0")
	if got := read(one); got != "" {
		t.Errorf("a quota that is gone refuses: %s", got)
	}
}

func TestQuotaOfChanges(t *testing.T) {
	d := newDoor(t)
	s := d.mustCreate(t, "a", marker)
	d.limit(t, "0", "0", "3/h")
	update := func() string {
		made, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: "a", Expected: s.CurrentVersion, Value: []byte("x")})
		if err == nil {
			s = made
		}
		return over(err)
	}
	for range 3 {
		if got := update(); got != "" {
			t.Fatal(got)
		}
	}
	if got := update(); got != "changes 20m0s" {
		t.Errorf("%q", got)
	}
	if v, err := d.Read(t.Context(), d.reader, "a", 0); err != nil || v.Version != s.CurrentVersion {
		t.Errorf("%d %v, want the version %d", v.Version, err, s.CurrentVersion)
	}
	*d.now = d.now.Add(20 * time.Minute)
	if got := update(); got != "" {
		t.Errorf("after the wait: %q", got)
	}
}

// TestQuotaOfUnknownTokens: tokens that are no good take no place, and cause no refusal of another caller.
func TestQuotaOfUnknownTokens(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	d.limit(t, "1/h", "0", "0")
	guess := d.reader
	for i := range 20 {
		guess.Bearer = vault.Bearer(fmt.Sprintf("hvt_%043d", i))
		for range 2 { // the second one would be over, if the first had a bucket
			if _, err := d.Read(t.Context(), guess, "a", 0); core.CodeOf(err) != core.Unauthenticated {
				t.Fatal(err)
			}
		}
	}
	if v, err := d.Read(t.Context(), d.reader, "a", 0); err != nil {
		t.Errorf("the address pays for its guesses: %v", err)
	} else {
		v.Wipe()
	}
}

func TestQuotaOfVerifies(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", "right")
	d.mustCreate(t, "b", "right")
	verify := func(c vault.Caller, name, candidate string) string {
		v, err := d.Verify(t.Context(), c, name, []byte(candidate))
		if err != nil {
			return over(err)
		}
		return fmt.Sprint(v.Valid)
	}
	t.Run("OKRightOnesAreFree", func(t *testing.T) {
		d.limit(t, "0", "2/m", "0")
		for range 100 {
			if got := verify(d.reader, "a", "right"); got != "true" {
				t.Fatal(got)
			}
		}
	})
	t.Run("ErrSearch", func(t *testing.T) {
		for range 2 {
			if got := verify(d.reader, "a", "wrong"); got != "false" {
				t.Fatal(got)
			}
		}
		for _, candidate := range []string{"wrong", "right"} {
			if got := verify(d.reader, "a", candidate); got != "verifies 30s" {
				t.Errorf("%s: %s", candidate, got)
			}
		}
		if got := verify(d.reader, "b", "wrong"); got != "false" {
			t.Errorf("another secret: %s", got)
		}
		if got := verify(vault.Caller{Addr: netip.MustParseAddr("10.0.0.77")}, "a", "right"); got != "true" {
			t.Errorf("another address: %s", got)
		}
		*d.now = d.now.Add(30 * time.Second)
		if got := verify(d.reader, "a", "right"); got != "true" {
			t.Errorf("after the wait: %s", got)
		}
	})
	t.Run("ErrManyTokensOfOneRole", func(t *testing.T) {
		one := d.tokenOf(t, "app", "v-1")
		made, _, err := d.NewToken(t.Context(), one, vault.TokenRequest{Name: "v-child"})
		if err != nil {
			t.Fatal(err)
		}
		child := vault.Caller{Addr: one.Addr, Bearer: vault.Bearer(made.Reveal())}
		for _, c := range []vault.Caller{one, child} {
			if got := verify(c, "a", "wrong"); got != "false" {
				t.Fatal(got)
			}
		}
		for _, c := range []vault.Caller{one, child, d.another(t, "app", "v-3")} {
			if got := verify(c, "a", "right"); got != "verifies 30s" {
				t.Errorf("a token of the role: %s", got)
			}
		}
		if got := verify(d.tokenOf(t, "app2", "v-4"), "a", "right"); got != "true" {
			t.Errorf("another role: %s", got)
		}
	})
	t.Run("OKMissingNamesTakeNothing", func(t *testing.T) {
		for range 10 {
			if got := verify(d.reader, "none", "wrong"); got != string(core.NotFound) {
				t.Fatal(got)
			}
		}
	})
}

// TestOverQuotaRecords: a flood beyond the quota makes as few records as any other flood of refusals.
func TestOverQuotaRecords(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	d.limit(t, "1/h", "0", "0")
	before := d.Unrecorded()
	for range 1001 {
		v, _ := d.Read(t.Context(), d.reader, "a", 0)
		v.Wipe()
	}
	if got := len(d.recorder.Take()); got != 1+60+1 {
		t.Errorf("%d records, want one of the read, 60 of refusals and one for the rest", got)
	}
	if n := d.Unrecorded() - before; n != 939 {
		t.Errorf("%d are counted as unrecorded, want 939", n)
	}
	// A quota that is used up is no refusal for want of a right.
	if _, err := d.Delete(t.Context(), d.reader, "a", 0); core.CodeOf(err) != core.Unauthenticated {
		t.Error(err)
	}
}
