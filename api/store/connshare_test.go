package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestAHeldRowDelaysItsSecretAlone: while another session holds the row of a secret and 40 changes of it wait, every
// change of other secrets goes through.
func TestAHeldRowDelaysItsSecretAlone(t *testing.T) {
	s := newServer(t)
	d := s.open()
	held := newSecret("held")
	must(t, only(d.CreateSecret(t.Context(), held, origin("x"))))
	blocker := s.connect("app")
	defer func() { _ = blocker.Close(context.Background()) }()
	tx, err := blocker.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM vault.secrets FOR UPDATE")
	must(t, err)
	waiting, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			var err error
			switch i % 4 { // every kind of change of a secret
			case 0:
				_, err = d.DeleteSecret(waiting, vault.Deletion{ID: held.ID, Name: held.Name, Expected: 9}, origin("y"))
			case 1:
				_, err = d.ExpireVersion(waiting, vault.Expiry{ID: held.ID, Name: held.Name, Version: 1}, origin("y"))
			default:
				_, err = d.AppendVersion(waiting, vault.NewVersion{ID: held.ID, Name: held.Name, Expected: 9, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("y"))
			}
			if c := core.CodeOf(err); c != core.Stale && c != core.Unavailable && c != core.NotFound && c != core.Invalid {
				t.Errorf("a change that waited: %v", err)
			}
		})
	}
	s.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
	for i := range 30 {
		n := newSecret(fmt.Sprintf("free/%d", i))
		must(t, only(d.CreateSecret(t.Context(), n, origin("z"))))
		must(t, only(d.AppendVersion(t.Context(), vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("z"))))
		if n := value[int64](s, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"); n > shareOfSecret {
			t.Fatalf("%d sessions wait for the row", n)
		}
	}
	must(t, tx.Rollback(t.Context()))
	all.Wait()
}

// TestReadsOfThePrimaryLeaveRoomForChanges: while reads of the primary wait for a lock, as many as have come, a change
// that needs no lock that they wait for goes through at once.
func TestReadsOfThePrimaryLeaveRoomForChanges(t *testing.T) {
	s := newServer(t)
	d := s.open()
	x := newSecret("read")
	must(t, only(d.CreateSecret(t.Context(), x, origin("x"))))
	blocker := s.connect("app")
	defer func() { _ = blocker.Close(context.Background()) }()
	tx, err := blocker.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE vault.secrets IN ACCESS EXCLUSIVE MODE")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	const reads = 20
	var all sync.WaitGroup
	var ended atomic.Int32
	for range reads {
		all.Go(func() {
			_, _, _ = d.ReadSealed(ctx, anonymous, x.Name, 0, vault.Freshness{Primary: true})
			ended.Add(1)
		})
	}
	most := cap(d.primaryReads.taken)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for int(d.primaryReads.waiting.Load()) != reads-most || int(d.writer.Stat().AcquiredConns()) != most {
		if <-look.C; ended.Load() > 0 {
			t.Fatal("the reads do not wait")
		}
	}
	must(t, only(d.CreateToken(t.Context(), vault.NewToken{ID: vault.TokenID{9}, Name: "meanwhile", Fingerprint: [32]byte{9}}, vault.AdminRole, origin("y"))))
	if n := ended.Load(); n != 0 {
		t.Errorf("%d reads had ended, which shows nothing", n)
	}
	cancel()
	must(t, tx.Rollback(t.Context()))
	all.Wait()
	if n := len(d.primaryReads.taken); n != 0 {
		t.Errorf("%d places were not given back", n)
	}
}

// TestPlacesForReads: reads have most of the writer's connections and never all, but for a pool of one.
func TestPlacesForReads(t *testing.T) {
	for connections, want := range map[int]int{1: 1, 2: 1, 4: 3, 8: 6, 100: 75} {
		if got := cap(placesForReads(connections).taken); got != want {
			t.Errorf("%d of %d, want %d", got, connections, want)
		}
	}
	p := placesForReads(1)
	leave, err := p.enter(t.Context())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.enter(ctx); !errors.Is(err, errReads) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	leave()
	if leave, err = p.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	leave()
}

func TestShares(t *testing.T) {
	var s shares
	free, busy := func() bool { return false }, func() bool { return true }
	enter := func(secret string, crowded func() bool) (func(), error) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // does not wait
		return s.enter(ctx, secret, crowded)
	}
	must := func(leave func(), err error) func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	one := must(enter("a", busy))
	if _, err := enter("a", busy); !errors.Is(err, errHeld) || !errors.Is(err, context.Canceled) {
		t.Errorf("a second place of a crowded pool: %v", err)
	}
	two := must(enter("a", free))
	if _, err := enter("a", free); !errors.Is(err, errHeld) {
		t.Errorf("a third place: %v", err)
	}
	must(enter("b", busy))() // others are not concerned
	must(enter("", busy))()
	t.Run("in the order of arrival, and no more than fit", func(t *testing.T) {
		var order []int
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range queueOfSecret {
			all.Go(func() {
				leave, err := s.enter(context.Background(), "a", free)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				leave()
				leave() // twice is once
			})
			for { // until it waits
				s.mu.Lock()
				n := len(s.by["a"].queue)
				s.mu.Unlock()
				if n == i+1 {
					break
				}
			}
		}
		if _, err := s.enter(t.Context(), "a", free); !errors.Is(err, errCrowded) {
			t.Errorf("one too many: %v", err)
		}
		one()
		two()
		all.Wait()
		if len(order) != queueOfSecret {
			t.Errorf("%d had their turn", len(order))
		}
		if len(s.by) != 0 {
			t.Errorf("%d secrets are remembered", len(s.by))
		}
	})
	if !strings.Contains(core.MessageOf(classifyLocal(errors.Join(errHeld, context.DeadlineExceeded))), "its row") {
		t.Error("the cause is lost")
	}
}
