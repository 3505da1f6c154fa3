package rotator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/rotator"
	"github.com/hyperiondb/hyperion-vault/api/store"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/core"
)

// settled fails unless each secret has exactly its first version and one rotated one, by one finished job.
func (b *bench) settled(secrets int) {
	b.t.Helper()
	got := one[string](b, `SELECT format('%s secrets at 2, %s versions, %s jobs done, %s open, %s rotations audited',
		(SELECT count(*) FROM vault.secrets WHERE current_version = 2 AND next_rotation_at > clock_timestamp()),
		(SELECT count(*) FROM vault.secret_versions),
		(SELECT count(*) FROM vault.rotation_jobs WHERE state = 'done' AND version = 2),
		(SELECT count(*) FROM vault.rotation_jobs WHERE state <> 'done'),
		(SELECT count(*) FROM vault.audit_log WHERE action = 'rotate' AND outcome = 'ok' AND actor = 'rotator'))`)
	want := fmt.Sprintf("%d secrets at 2, %d versions, %d jobs done, 0 open, %d rotations audited", secrets, 2*secrets, secrets, secrets)
	if got != want {
		b.t.Fatalf("%s, want %s", got, want)
	}
}

const allDone = "SELECT count(*) > 0 AND bool_and(state = 'done') FROM vault.rotation_jobs"

func TestSeveralRotatorsShareTheWork(t *testing.T) {
	b := newBench(t)
	names := make([]string, 60)
	for i := range names {
		names[i] = fmt.Sprintf("s/%d", i)
	}
	b.due(names...)
	for range 4 {
		start(t, rotator.Config{Door: b.mustOpen().door, Poll: 20 * time.Millisecond, Batch: 3})
	}
	b.await("all are rotated", allDone)
	b.exec("SELECT vault.supervise(1000, true)")
	b.settled(len(names))
	if n := one[int64](b, "SELECT max(attempts) FROM vault.rotation_jobs"); n != 1 {
		t.Errorf("a job was claimed %d times", n)
	}
}

func TestKilledAtEveryStep(t *testing.T) {
	for _, step := range []string{vault.StepClaimed, vault.StepKey, vault.StepSealed, vault.StepStored} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			b.due("a/b")
			b.startChild(step).wait(t)
			state := one[string](b, "SELECT state FROM vault.rotation_jobs")
			if stored := step == vault.StepStored; stored != (state == "done") || !stored && state != "claimed" {
				t.Fatalf("killed when %s, the job is %s", step, state)
			}
			// Its lease is over after a while, and another takes over what is not done.
			start(t, rotator.Config{Door: b.door, Poll: 50 * time.Millisecond})
			b.await("the rotation is done", allDone)
			b.exec("SELECT vault.supervise(1000, true)")
			b.settled(1)
			if n := one[int64](b, "SELECT max(attempts) FROM vault.rotation_jobs"); n != map[bool]int64{true: 1, false: 2}[step == vault.StepStored] {
				t.Errorf("claimed %d times", n)
			}
		})
	}
}

func TestAClaimIsHeldUntilItsLeaseEnds(t *testing.T) {
	b := newBench(t)
	b.due("a/b")
	first, err := b.door.ClaimRotations(t.Context(), "first", time.Minute, 10)
	if err != nil || len(first) != 1 {
		t.Fatalf("claimed %v, %v", first, err)
	}
	claim := func() []vault.Claim {
		t.Helper()
		c, err := b.door.ClaimRotations(t.Context(), "second", time.Minute, 10)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	b.exec("UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp()")
	if err := b.door.RenewRotations(t.Context(), "first", time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := claim(); len(got) != 0 {
		t.Fatalf("claimed %v after a renewal", got)
	}
	b.exec("UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp() + '1 s'")
	if got := claim(); len(got) != 0 {
		t.Fatalf("claimed %v before the lease ended", got)
	}
	b.exec("UPDATE vault.rotation_jobs SET claimed_until = clock_timestamp()")
	second := claim()
	if len(second) != 1 || second[0].Attempts != 2 || !second[0].DueAt.Equal(first[0].DueAt) {
		t.Fatalf("claimed %+v", second)
	}
	if err := b.door.RenewRotations(t.Context(), "first", time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := one[int64](b, "SELECT count(*) FROM vault.rotation_jobs WHERE claimed_by = 'second' AND claimed_until < clock_timestamp() + '2 min'"); n != 1 {
		t.Error("a late renewal took a claim back, or lengthened another's")
	}
	if _, err := b.door.CompleteRotation(t.Context(), first[0]); !vault.IsClaimLost(err) {
		t.Errorf("the first completes: %v", err)
	}
	if _, err := b.door.FailRotation(t.Context(), first[0], context.Canceled); !vault.IsClaimLost(err) {
		t.Errorf("the first fails: %v", err)
	}
	if err := b.door.ReleaseRotation(t.Context(), first[0]); !vault.IsClaimLost(err) {
		t.Errorf("the first releases: %v", err)
	}
	if err := b.door.ReleaseRotation(t.Context(), second[0]); err != nil {
		t.Fatal(err)
	}
	third := claim()
	if len(third) != 1 || third[0].Attempts != 2 {
		t.Fatalf("after a release: %+v", third)
	}
	if _, err := b.door.CompleteRotation(t.Context(), third[0]); err != nil {
		t.Fatal(err)
	}
	b.settled(1)
}

func TestCalledOff(t *testing.T) {
	for name, sql := range map[string]string{
		"paused":      "SELECT vault.configure_secret(name => 'a/b', rotation_paused => true)",
		"rescheduled": "SELECT vault.configure_secret(name => 'a/b', rotation_interval_secs => 7200)",
		"deleted":     "SELECT vault.delete_secret('a/b', NULL)",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			socket := "SET hyperion_vault.agent_socket = '/nowhere'"
			b.due("a/b")
			c, err := b.door.ClaimRotations(t.Context(), "w", time.Minute, 10)
			if err != nil || len(c) != 1 {
				t.Fatalf("claimed %v, %v", c, err)
			}
			b.exec(socket)
			b.exec(sql)
			if _, err := b.door.CompleteRotation(t.Context(), c[0]); !vault.IsClaimLost(err) {
				t.Errorf("completed: %v", err)
			}
			if n := one[int64](b, "SELECT count(*) FROM vault.rotation_jobs"); n != 0 {
				t.Errorf("%d jobs are left", n)
			}
		})
	}
}

func TestFailureIsKeptAndRetried(t *testing.T) {
	b := newBench(t)
	b.due("a/b")
	b.exec("UPDATE vault.secrets SET content_type = 'TEXT/plain'") // as a hand in the tables would
	start(t, rotator.Config{Door: b.door, Poll: 50 * time.Millisecond})
	b.await("a failure is kept", "SELECT last_error IS NOT NULL AND state = 'queued' FROM vault.rotation_jobs")
	b.await("the failure is seen", "SELECT (vault.status()->>'failing')::int = 1")
	status, _, err := b.wired.db.Status(t.Context(), vault.Itself())
	if err != nil || len(status.Failures) != 1 {
		t.Fatalf("got %+v, %v", status, err)
	}
	if f := status.Failures[0]; f.Name != "a/b" || f.Attempts < 1 || f.Reason == "" || !f.NextAttemptAt.After(f.DueAt) || f.DueAt.IsZero() {
		t.Errorf("got %+v", f)
	}
	counts, err := b.wired.db.Counts(t.Context())
	if err != nil || counts.Failing != 1 || len(counts.Failures) != 0 {
		t.Errorf("got %+v, %v", counts, err)
	}
	if n := one[int64](b, "SELECT count(*) FROM vault.audit_log WHERE action = 'rotate' AND outcome = 'failed' AND code = 'corrupt'"); n < 1 {
		t.Error("the failure is not audited")
	}
	b.exec("UPDATE vault.secrets SET content_type = 'text/plain; charset=utf-8'")
	b.await("it is retried", allDone)
	if n := one[int64](b, "SELECT attempts FROM vault.rotation_jobs"); n < 2 {
		t.Errorf("%d attempts", n)
	}
}

// cutOffKeeper is one of a node that does not reach its key service.
type cutOffKeeper struct{ vault.Keeper }

var errCutOff = core.Errorf(core.Unavailable, "the key service is away from this node")

func (cutOffKeeper) Generate(context.Context, map[string]string) (vault.DataKey, error) {
	return vault.DataKey{}, errCutOff
}
func (cutOffKeeper) Check(context.Context) error { return errCutOff }

// TestOneNodeIsCutOff: one of three without its key service delays no other node.
func TestOneNodeIsCutOff(t *testing.T) {
	b := newBench(t)
	names := make([]string, 60)
	for i := range names {
		names[i] = fmt.Sprintf("s/%d", i)
	}
	cut, err := vault.New(vault.Config{Store: b.wired.db, Keeper: cutOffKeeper{}, Recorder: audit.NewDirect(b.wired.db), Node: "cut-off", Database: b.db.Name})
	if err != nil {
		t.Fatal(err)
	}
	b.due(names...)
	// It is the first to query what is due.
	if claims, err := cut.ClaimRotations(t.Context(), "w", time.Minute, 16); len(claims) != 0 || core.CodeOf(err) != core.Unavailable {
		t.Fatalf("claimed %d, %v", len(claims), err)
	}
	start(t, rotator.Config{Door: cut, Poll: 10 * time.Millisecond})
	for range 2 {
		start(t, rotator.Config{Door: b.mustOpen().door})
	}
	b.await("all are rotated", allDone)
	b.exec("SELECT vault.supervise(1000, true)")
	b.settled(len(names))
	if n := one[int64](b, "SELECT max(attempts) FROM vault.rotation_jobs"); n != 1 {
		t.Errorf("a rotation was tried %d times", n)
	}
}

// TestOneCorruptRow: what cannot be read is kept on its job, and everything else is rotated and planned.
func TestOneCorruptRow(t *testing.T) {
	b := newBench(t)
	b.due("bad/due", "bad/policy", "bad/tags", "good")
	for name, schedule := range map[string]string{"bad/cron": "30 2 * * *", "good/cron": "30 3 * * *"} {
		b.mustCreate(vault.CreateRequest{Name: name, Kind: "automatic", Rotation: vault.Rotation{Schedule: schedule}})
	}
	b.exec("ALTER TABLE vault.secrets DISABLE TRIGGER secrets_settings_fit")
	b.exec(`UPDATE vault.secrets SET tags = '{"a": 1}' WHERE name IN ('bad/tags', 'bad/cron')`)
	b.exec(`UPDATE vault.secrets SET generate_policy = '{"lenght": 1}' WHERE name = 'bad/policy'`)
	b.exec(`UPDATE vault.rotation_jobs SET due_at = '-infinity' FROM vault.secrets s WHERE s.id = secret_id AND s.name = 'bad/due'`)
	start(t, rotator.Config{Door: b.door, Poll: 50 * time.Millisecond})
	b.await("the good one is rotated and the others' failures are kept", `SELECT
		bool_and(CASE WHEN s.name = 'good' THEN j.state = 'done' ELSE j.last_error LIKE 'the % malformed' AND j.next_attempt_at > j.created_at END)
		FROM vault.rotation_jobs j JOIN vault.secrets s ON s.id = j.secret_id`)
	b.await("the good one is planned", `SELECT next_rotation_at IS NOT NULL FROM vault.secrets WHERE name = 'good/cron'`)
	if n := one[int64](b, "SELECT count(*) FROM vault.audit_log WHERE action = 'rotate' AND outcome = 'failed' AND code = 'corrupt'"); n < 3 {
		t.Errorf("%d failures are audited", n)
	}
	// Once they are repaired, they are rotated.
	b.exec("UPDATE vault.secrets SET tags = '{}', generate_policy = NULL")
	b.exec("UPDATE vault.rotation_jobs SET due_at = clock_timestamp() WHERE due_at = '-infinity'")
	b.await("all are rotated", allDone)
}

// TestManyThatCannotBePlanned: however many schedules cannot be planned, or are locked by a role that may change them, the others
// are, and the status says which cannot and why.
func TestManyThatCannotBePlanned(t *testing.T) {
	b := newBench(t)
	r := vault.CreateRequest{Kind: "automatic", Rotation: vault.Rotation{Schedule: "30 2 * * *"}}
	for _, name := range []string{"bad", "locked", "zone"} {
		r.Name = name
		b.mustCreate(r)
	}
	b.exec(`INSERT INTO vault.secrets (id, name, kind, content_type, rotation_schedule, current_version, created_at, updated_at)
		SELECT gen_random_uuid(), 'bad/' || n, 'automatic', 'text/plain; charset=utf-8', '99 99 * * *', 1, clock_timestamp(), '2000-01-01'
		FROM generate_series(1, 1500) n`)
	b.exec("UPDATE vault.secrets SET rotation_schedule = '99 99 * * *' WHERE name = 'bad'")
	b.exec("UPDATE vault.secrets SET rotation_time_zone = 'Atlantis/Capital' WHERE name = 'zone'")
	tx, err := b.db.MustConnect(t, vaulttest.Superuser).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM vault.secrets WHERE name = 'locked' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	r.Name = "good"
	b.mustCreate(r)
	start(t, rotator.Config{Door: b.door, Poll: 50 * time.Millisecond})
	b.await("the good one is planned", "SELECT next_rotation_at IS NOT NULL FROM vault.secrets WHERE name = 'good'")
	b.await("the reasons are kept", "SELECT count(*) = 1502 FROM vault.secrets WHERE plan_error IS NOT NULL AND plan_failed_at IS NOT NULL")
	status, _, err := b.wired.db.Status(t.Context(), vault.Itself())
	if err != nil || len(status.Failures) != 20 || !strings.HasPrefix(status.Failures[0].Reason, "the next time cannot be computed: ") {
		t.Errorf("%+v, %v", status.Failures, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.await("the locked one is planned", "SELECT next_rotation_at IS NOT NULL FROM vault.secrets WHERE name = 'locked'")

	// Configured again it is tried at once, and one that was repaired otherwise after a while.
	schedule := "0 4 * * *"
	s, _, err := b.wired.db.DescribeSecret(t.Context(), vault.Itself(), "bad", vault.Freshness{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.wired.db.ConfigureSecret(t.Context(), vault.Configuration{ID: s.ID, Name: "bad", Expected: 1, Settings: vault.Settings{RotationSchedule: &schedule}},
		vault.Author{By: vault.Itself(), Origin: vault.Origin{Node: "n", Actor: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	b.await("the repaired one is planned", "SELECT next_rotation_at IS NOT NULL AND plan_error IS NULL FROM vault.secrets WHERE name = 'bad'")
	b.exec("UPDATE vault.secrets SET rotation_time_zone = 'UTC', plan_failed_at = plan_failed_at - interval '6 min' WHERE name = 'zone'")
	b.await("the other one is planned", "SELECT next_rotation_at IS NOT NULL AND plan_error IS NULL FROM vault.secrets WHERE name = 'zone'")
}

func TestSchedulesArePlanned(t *testing.T) {
	b := newBench(t)
	b.mustCreate(vault.CreateRequest{Name: "a", Kind: "automatic", GracePeriodSecs: 600,
		Rotation: vault.Rotation{Schedule: "30 2 * * *", TimeZone: "Europe/Berlin"}})
	start(t, rotator.Config{Door: b.door, Poll: 50 * time.Millisecond})
	b.await("it is planned", `SELECT count(*) = 1 FROM vault.secrets
		WHERE (next_rotation_at AT TIME ZONE 'Europe/Berlin')::time = '02:30'
		AND next_rotation_at BETWEEN clock_timestamp() AND clock_timestamp() + '25 h'`)
	// A long outage: rotated once, and planned for a time that is still to come.
	b.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() - interval '10 days'")
	b.exec("SELECT vault.supervise(1000, true)")
	b.await("it is rotated", allDone)
	b.exec("SELECT vault.supervise(1000, true)")
	b.settled(1)
}

func TestHearsWhatIsDue(t *testing.T) {
	b := newBench(t)
	heard := make(chan string, 100)
	listen := func(ctx context.Context, wake func()) error {
		return b.wired.db.Listen(ctx, func(channel string) { heard <- channel; wake() })
	}
	start(t, rotator.Config{Door: b.door, Poll: time.Hour, Listen: listen})
	next := func(want string) {
		t.Helper()
		timer := time.NewTimer(pgtest.Patience)
		defer timer.Stop()
		for {
			select {
			case got := <-heard:
				if got == want {
					return
				}
			case <-timer.C:
				t.Fatalf("did not hear %q", want)
			}
		}
	}
	next("")
	b.due("a")
	next(store.ChannelRotation)
	b.await("a is rotated", allDone) // of which the supervisor tells, and it serves another database
	// A connection that ends is made again, and what came meanwhile is found.
	b.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()`)
	b.due("b")
	next("")
	b.await("b is rotated", allDone)
	b.settled(2)
}
