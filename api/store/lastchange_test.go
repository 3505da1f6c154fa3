package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func (s *server) holds(d *DB, name string) bool { return s.reason(d, name) != "" }

// reason is that of a condition, "" while it does not hold.
func (s *server) reason(d *DB, name string) string {
	for _, c := range d.Conditions(s.t.Context()) {
		if c.Name == name {
			return c.Reason
		}
	}
	return ""
}

// TestFencedPrimary: a change is not kept waiting for a primary when every server answers and none is one.
func TestFencedPrimary(t *testing.T) {
	s := newServer(t)
	d := s.openWith(func(c *Config) { c.WriteTimeout = time.Minute }, s.dir)
	must(t, only(d.CreateSecret(t.Context(), newSecret("a"), origin("x"))))
	s.sql("app", "ALTER SYSTEM SET default_transaction_read_only = on")
	s.sql("app", "SELECT pg_reload_conf()")
	for value[string](s, "SHOW default_transaction_read_only") != "on" { // a reload takes a moment to reach new sessions
		if !backoff.Sleep(t.Context(), 10*time.Millisecond) {
			t.Fatal("the setting does not arrive")
		}
	}
	startedAt := time.Now()
	_, err := d.CreateSecret(t.Context(), newSecret("b"), origin("x"))
	if took := time.Since(startedAt); core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), "read-only, as by a fence") ||
		!strings.Contains(core.MessageOf(err), " since ") || took > 20*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	if err := d.CheckWriter(t.Context()); err == nil || !s.holds(d, vault.ConditionNoPrimary) {
		t.Errorf("it is not told: %v", err)
	}
}

// TestFullDisk: a primary that refuses every change answers every question. Here a trigger stands for its disk.
func TestFullDisk(t *testing.T) {
	s := newServer(t)
	d := s.open()
	must(t, d.CheckWriter(t.Context()))
	s.sql("app", `CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS
		$f$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $f$`)
	s.sql("app", "CREATE TRIGGER full_disk BEFORE INSERT ON vault.audit_log EXECUTE FUNCTION public.full()")
	_, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	if core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), "disk is full") {
		t.Errorf("%v", err)
	}
	if err := d.CheckWriter(t.Context()); core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), "disk is full") || !s.holds(d, vault.ConditionChangesFail) {
		t.Errorf("readiness says %v", err)
	}
	s.sql("app", "DROP TRIGGER full_disk ON vault.audit_log")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for d.CheckWriter(ctx) != nil {
		if !backoff.Sleep(ctx, 50*time.Millisecond) {
			t.Fatal("it is not noticed that changes can be made again")
		}
	}
	if s.holds(d, vault.ConditionChangesFail) {
		t.Error("the condition has not ended")
	}
	if n := value[int](s, "SELECT count(*) FROM vault.audit_log WHERE actor = 'probe'"); n != 0 {
		t.Errorf("%d records of probes", n)
	}
}
