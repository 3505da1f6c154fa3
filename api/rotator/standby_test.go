package rotator_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/rotator"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// TestEventsOnAStandby follows rotations at the API of a standby, from before its promotion until after it.
func TestEventsOnAStandby(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Settings: []string{
		"hyperion_vault.database = 'hv_1'", "hyperion_vault.scan_interval_secs = 1",
	}})
	b := &bench{t: t, db: vaulttest.NewDBIn(t, c)}
	standby := c.NewStandby(t)
	there := b.db.On(standby)
	b.env = b.db.Environ(t)
	b.conn = b.db.MustConnect(t, vaulttest.Superuser)
	b.wired = b.mustOpen()
	here := vaulttest.NewServer(t, b.db, "VAULT_ROTATION_POLL_SECS=1")
	s := vaulttest.NewServer(t, there, "VAULT_ROTATION_POLL_SECS=1")
	closed := vaulttest.NewServer(t, there, "VAULT_ALLOWED_IPS=192.0.2.1", "VAULT_AGENT_SOCKET=off")
	ctx, cancel := context.WithTimeout(t.Context(), 2*pgtest.Patience)
	defer cancel() // or the servers would wait for their streams

	t.Run("ErrAddress", func(t *testing.T) {
		if status, _ := closed.Do(t, http.MethodGet, "/v1/events", nil); status != http.StatusForbidden {
			t.Errorf("an address that is not allowed: %d", status)
		}
	})
	next := follow(ctx, t, s, "")
	here.MustCreate(t, "other/1", "x")
	b.mustCreate(vault.CreateRequest{Name: "ev/1", Kind: "automatic", RotationIntervalSecs: 1, GracePeriodSecs: 600})
	var ids []string
	version := 0
	want := func(e event, action string) {
		t.Helper()
		version++
		if e.Name != "ev/1" || e.Action != action || e.Version != version {
			t.Fatalf("got %+v, want %s of version %d", e, action, version)
		}
		ids = append(ids, e.id)
	}
	want(next(), "create")
	for range 3 {
		want(next(), "rotate")
	}
	t.Run("OK resumed", func(t *testing.T) {
		// At either node, by what either node has said.
		for _, at := range []*vaulttest.Server{s, here} {
			again := follow(ctx, t, at, ids[0])
			for i, id := range ids[1:] {
				if e := again(); e.id != id || e.Version != i+2 {
					t.Errorf("resumed with %+v, want %s", e, id)
				}
			}
		}
	})
	t.Run("OK promoted", func(t *testing.T) {
		here.MustStop(t)
		c.MustStop(t, syscall.SIGQUIT)
		standby.MustPromote(t)
		// The supervisor has started, this API rotates, and the stream goes on or is taken up again.
		again := follow(ctx, t, s, ids[len(ids)-1])
		for range 3 {
			want(again(), "rotate")
		}
	})
	if n := len(slices.Compact(slices.Sorted(slices.Values(ids)))); n != version {
		t.Errorf("%d ids of %d versions", n, version)
	}
	cancel()
}

// TestRotatesAField has a real API process rotate one field of a JSON secret.
func TestRotatesAField(t *testing.T) {
	b := newBench(t)
	const before = `{ "user": "app",  "port": 5432.0, "password": "first \u00e9", "more": {"password": "kept"} }`
	policy := generate.Default()
	policy.JSONField, policy.Length = "password", 24
	b.mustCreate(vault.CreateRequest{Name: "json/db", Kind: "automatic", ContentType: "application/json", Value: []byte(before),
		RotationIntervalSecs: 3600, GracePeriodSecs: 600, GeneratePolicy: &policy})
	b.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp()")
	b.exec("SELECT vault.supervise(10000, true)")
	b.startChild("serve", "VAULT_ROTATION_POLL_SECS=1")
	b.await("it is rotated", allDone)
	b.exec("SELECT vault.supervise(1000, true)")
	b.settled(1)
	got := b.value("json/db", 0)
	var fields struct{ Password string }
	if err := json.Unmarshal([]byte(got), &fields); err != nil || len(fields.Password) != 24 {
		t.Fatalf("the password is %d long, %v", len(fields.Password), err)
	}
	if want := strings.Replace(before, `first \u00e9`, fields.Password, 1); got != want {
		t.Errorf("more than the field has changed:\n%s\n%s", got, want)
	}
	if old := b.value("json/db", 1); old != before {
		t.Errorf("the old value reads %q", old)
	}
}

// value reads a version, 0 for the current one, through the door.
func (b *bench) value(name string, version uint64) string {
	b.t.Helper()
	r, err := b.door.Read(context.Background(), vault.Caller{Addr: netip.MustParseAddr("127.0.0.1")}, name, version)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(r.Plain)
}

// TestTooLate finishes rotations after their lease, and after their window.
func TestTooLate(t *testing.T) {
	claimed := func(t *testing.T) (*bench, vault.Claim) {
		b := newBench(t)
		b.due("a/b")
		c, err := b.door.ClaimRotations(t.Context(), "slow", time.Minute, 1)
		if err != nil || len(c) != 1 {
			t.Fatalf("claimed %v, %v", c, err)
		}
		return b, c[0]
	}
	t.Run("OK after the lease no other process has it", func(t *testing.T) {
		b, c := claimed(t)
		b.exec("UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp() - interval '1 min'")
		if _, err := b.door.CompleteRotation(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := b.door.CompleteRotation(t.Context(), c); !vault.IsClaimLost(err) {
			t.Errorf("completed twice: %v", err)
		}
		b.exec("SELECT vault.supervise(1000, true)")
		b.settled(1)
	})
	t.Run("Err another has done it", func(t *testing.T) {
		b, c := claimed(t)
		b.exec("UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp()")
		_, stop := start(t, rotator.Config{Door: b.mustOpen().door, Poll: 50 * time.Millisecond})
		b.await("another has done it", allDone)
		stop()
		if _, err := b.door.CompleteRotation(t.Context(), c); !vault.IsClaimLost(err) {
			t.Errorf("completed a second time: %v", err)
		}
		b.exec("SELECT vault.supervise(1000, true)")
		b.settled(1)
	})
	t.Run("Err after the window", func(t *testing.T) {
		b, c := claimed(t)
		b.exec("UPDATE vault.rotation_jobs SET deadline_at = clock_timestamp()")
		b.exec("SELECT vault.supervise(1000, true)")
		if _, err := b.door.CompleteRotation(t.Context(), c); !vault.IsClaimLost(err) {
			t.Errorf("completed after its window: %v", err)
		}
		got := one[string](b, `SELECT format('%s versions, %s missed, %s audited',
			(SELECT count(*) FROM vault.secret_versions), vault.status()->>'missed',
			(SELECT count(*) FROM vault.audit_log WHERE actor = 'supervisor' AND action = 'rotate' AND outcome = 'failed' AND secret_name = 'a/b'))`)
		if want := "1 versions, 1 missed, 1 audited"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
