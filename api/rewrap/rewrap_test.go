package rewrap_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
)

// mover moves keys by giving them another id; Unwrap does not matter here.
type mover struct {
	*doortest.Keeper
	fail    func(n int, k vault.WrappedKey) error // asked with the number of the call, from 1; nil = never
	slow    time.Duration                         // of each call
	current func(n int) string                    // the same for Current; nil = next-key

	mu       sync.Mutex
	n, asked int
}

func (m *mover) Current(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked++; m.current != nil {
		return m.current(m.asked), nil
	}
	return "next-key", nil
}

func (m *mover) Rewrap(ctx context.Context, k vault.WrappedKey, to string, _ map[string]string) (vault.WrappedKey, error) {
	if m.slow > 0 {
		<-time.After(m.slow)
	}
	err := m.next(k)
	if err == errHang {
		<-ctx.Done()
		err = core.Wrap(core.Unavailable, ctx.Err(), "too late")
	}
	if err != nil {
		return vault.WrappedKey{}, err
	}
	return vault.WrappedKey{KeyID: to, Wrapped: append([]byte("next-"), k.Wrapped...)}, nil
}

func (m *mover) next(k vault.WrappedKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.fail != nil {
		return m.fail(m.n, k)
	}
	return nil
}

var (
	errHang = errors.New("hang")
	errAway = core.Errorf(core.Unavailable, "away")
	errGone = core.Wrap(core.Unavailable, vault.ErrKeyRefused, "the key is gone")
)

// newDoor returns a door that has 250 versions to move, more than two pages.
func newDoor(t *testing.T, m *mover) *door {
	t.Helper()
	d := openDoor(t, m)
	for i := range 125 {
		name := "s" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		d.mustCreate(t, name)
		if _, err := d.Update(t.Context(), d.admin, vault.UpdateRequest{Name: name, Value: []byte("2"), Expected: 1}); err != nil {
			t.Fatal(err)
		}
	}
	d.recorder.Take()
	return d
}

func rewrapTest(t *testing.T, name string, m *mover, f func(t *testing.T, d *door)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t, m)
			f(t, d)
			d.job.Close(context.Background())
		})
	})
}

var operator = vault.Operator{Name: "root"}

func countRecords(d *door) (moved, failed, runs int) {
	for _, e := range d.recorder.Take() {
		switch {
		case e.Action != vault.ActionRewrap:
		case e.Name == "":
			runs++
		case e.Outcome == vault.OutcomeOK:
			moved++
		default:
			failed++
		}
	}
	return moved, failed, runs
}

func TestRewrap(t *testing.T) {
	rewrapTest(t, "OK", &mover{}, func(t *testing.T, d *door) {
		calls := 0
		s, err := d.Rewrap(t.Context(), operator, 100, func(vault.RewrapStatus) { calls++ })
		if err != nil || s.State != vault.RewrapDone || s.Total != 250 || s.Moved != 250 || s.Remaining != 0 || s.Key != "next-key" || calls != 250 {
			t.Fatalf("%+v, %d calls, %v", s, calls, err)
		}
		if moved, failed, runs := countRecords(d); moved != 250 || failed != 0 || runs != 1 {
			t.Errorf("%d, %d, %d records", moved, failed, runs)
		}
		if s, err = d.Rewrap(t.Context(), operator, 0, nil); err != nil || s.Total != 0 || s.Moved != 0 {
			t.Errorf("again: %+v, %v", s, err)
		}
	})
	rewrapTest(t, "GoesOnAfterAnOutage", &mover{fail: func(n int, _ vault.WrappedKey) error {
		if n > 50 && n <= 55 {
			return errAway
		}
		return nil
	}}, func(t *testing.T, d *door) {
		if s, err := d.Rewrap(t.Context(), operator, 1000, nil); err != nil || s.Moved != 250 {
			t.Errorf("%+v, %v", s, err)
		}
	})
	rewrapTest(t, "LeavesTheDamaged", &mover{fail: func(n int, _ vault.WrappedKey) error {
		if n%50 == 0 {
			return core.Errorf(core.Corrupt, "damaged")
		}
		return nil
	}}, func(t *testing.T, d *door) {
		s, err := d.Rewrap(t.Context(), operator, 1000, nil)
		if err != nil || s.State != vault.RewrapPartial || s.Moved != 245 || s.Failed != 5 || s.Remaining != 5 ||
			s.LastFailed.Name == "" || s.LastFailed.Version == 0 || s.LastFailed.Error != "damaged" {
			t.Errorf("%+v, %v", s, err)
		}
		if moved, failed, _ := countRecords(d); moved != 245 || failed != 5 {
			t.Errorf("%d, %d records", moved, failed)
		}
	})
	var away bool
	rewrapTest(t, "ErrAwayThenResumed", &mover{fail: func(n int, _ vault.WrappedKey) error {
		if away = away || n == 100; away {
			return errAway
		}
		return nil
	}}, func(t *testing.T, d *door) {
		s, err := d.Rewrap(t.Context(), operator, 1000, nil)
		if core.CodeOf(err) != core.Unavailable || s.State != vault.RewrapFailed || s.Moved != 99 || s.Failed != 0 || s.Error != "away" || s.LastFailed.Name == "" {
			t.Errorf("%+v, %v", s, err)
		}
		away = false
		if s, err = d.Rewrap(t.Context(), operator, 1000, nil); err != nil || s.Total != 151 || s.Moved != 151 {
			t.Errorf("resumed: %+v, %v", s, err)
		}
	})
	rewrapTest(t, "WaitsForWhatHangs", &mover{fail: func(n int, _ vault.WrappedKey) error {
		if n == 1 {
			return errHang
		}
		return nil
	}}, func(t *testing.T, d *door) {
		if s, err := d.Rewrap(t.Context(), operator, 1000, nil); err != nil || s.Moved != 250 {
			t.Errorf("%+v, %v", s, err)
		}
	})
	rewrapTest(t, "SkipsWhatChanged", &mover{}, func(t *testing.T, d *door) {
		first := true
		s, err := d.Rewrap(t.Context(), operator, 1000, func(s vault.RewrapStatus) {
			if !first {
				return
			}
			first = false
			// Another node moves everything while this one works on its page.
			all, err := d.store.ListWrapped(context.Background(), s.Key, vault.StoredKey{}, 1000)
			for _, k := range all {
				if ok, merr := d.store.RewrapVersion(context.Background(), k, vault.WrappedKey{KeyID: s.Key, Wrapped: k.Key.Wrapped}, vault.Origin{}); merr != nil || !ok {
					err = errors.Join(err, merr)
				}
			}
			if err != nil || len(all) != 249 {
				t.Errorf("%d, %v", len(all), err)
			}
		})
		if err != nil || s.Moved != 1 || s.Skipped != 99 || s.Remaining != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	})
	rewrapTest(t, "ErrRate", &mover{}, func(t *testing.T, d *door) {
		for _, rate := range []int{-1, vault.MaxRewrapRate + 1} {
			_, err := d.Rewrap(t.Context(), operator, rate, nil)
			wantCode(t, err, core.Invalid)
		}
		_, err := d.StartRewrap(t.Context(), d.admin, vault.MaxRewrapRate+1)
		wantCode(t, err, core.Invalid)
		_, err = d.Rewrap(t.Context(), vault.Operator{}, 1, nil)
		wantCode(t, err, core.Denied)
	})
}

// TestRewrapRefused: a master key that may not be used holds up nothing but what is under it.
func TestRewrapRefused(t *testing.T) {
	lost := func(code error) func(int, vault.WrappedKey) error {
		return func(_ int, k vault.WrappedKey) error {
			if k.KeyID == "lost" {
				return code
			}
			return nil
		}
	}
	// lose puts n versions under the lost key, the first in the order of the run.
	lose := func(t *testing.T, d *door, n int) {
		t.Helper()
		some, err := d.store.ListWrapped(t.Context(), "", vault.StoredKey{}, n)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range some {
			if _, err := d.store.RewrapVersion(t.Context(), k, vault.WrappedKey{KeyID: "lost", Wrapped: k.Key.Wrapped}, vault.Origin{}); err != nil {
				t.Fatal(err)
			}
		}
		d.recorder.Take()
	}
	for name, code := range map[string]error{"Gone": errGone, "Denied": core.Errorf(core.Denied, "no")} {
		m := &mover{fail: lost(code)}
		rewrapTest(t, name, m, func(t *testing.T, d *door) {
			lose(t, d, 3)
			startedAt := time.Now()
			// A second run does not stop there either, and has nothing done: all that is left is refused.
			for _, state := range []vault.RewrapState{vault.RewrapPartial, vault.RewrapFailed} {
				s, err := d.Rewrap(t.Context(), operator, 1000, nil)
				if err != nil || s.State != state || s.Error == "" || len(s.Under) != 1 || s.Under[0] != (vault.KeyCount{KeyID: "lost", Versions: 3}) || s.Failed != 3 || s.Remaining != 3 || s.Moved+3 != s.Total || s.LastFailed.Name == "" {
					t.Errorf("%+v, %v", s, err)
				}
			}
			if took := time.Since(startedAt); took > 2*time.Second {
				t.Errorf("took %s: what is refused was asked for again and again", took)
			}
			if moved, failed, _ := countRecords(d); moved != 247 || failed != 6 {
				t.Errorf("%d, %d records", moved, failed)
			}
		})
	}
	m := &mover{fail: lost(errGone)}
	rewrapTest(t, "NotAllAreAsked", m, func(t *testing.T, d *door) {
		lose(t, d, 150)
		s, err := d.Rewrap(t.Context(), operator, 100, nil)
		if err != nil || s.State != vault.RewrapPartial || s.Failed != 150 || s.Remaining != 150 || s.Moved != 100 {
			t.Errorf("%+v, %v", s, err)
		}
		if m.n > 100+40 {
			t.Errorf("%d calls for 100 that can be moved", m.n)
		}
	})
	m = &mover{fail: lost(errGone)}
	rewrapTest(t, "IsACondition", m, func(t *testing.T, d *door) {
		run := func() []vault.Condition {
			t.Helper()
			if _, err := d.StartRewrap(t.Context(), d.admin, 1000); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				if s, err := d.RewrapStatus(t.Context(), d.admin); err != nil || time.Now().After(end) {
					t.Fatal(s, err)
				} else if s.State != vault.RewrapRunning {
					break
				}
			}
			return slices.DeleteFunc(d.Conditions(t.Context()), func(c vault.Condition) bool { return c.Name != vault.ConditionRewrapUnfinished })
		}
		lose(t, d, 3)
		if got := run(); len(got) != 1 || got[0].Since.IsZero() || !strings.Contains(got[0].Reason, "has ended partial: 247 versions were moved, 3 failed, 3 are still under another key") {
			t.Errorf("%+v", got)
		}
		m.fail = nil
		if got := run(); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestRewrapBehind: versions that another server writes under the old key behind the run are moved too, and what is
// under another key after all that is told.
func TestRewrapBehind(t *testing.T) {
	rewrapTest(t, "OK", &mover{}, func(t *testing.T, d *door) {
		s, err := d.Rewrap(t.Context(), operator, 1000, func(s vault.RewrapStatus) {
			if s.Moved == 200 {
				for _, name := range []string{"na", "nb", "nc", "nd", "ne", "nf", "ng", "nh"} {
					d.mustCreate(t, name)
				}
			}
		})
		if err != nil || s.State != vault.RewrapDone || s.Moved != 258 || s.Remaining != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	})
	m := &mover{}
	rewrapTest(t, "ErrForEver", m, func(t *testing.T, d *door) {
		n := 0
		s, err := d.Rewrap(t.Context(), operator, 1000, func(s vault.RewrapStatus) {
			if s.Remaining <= 0 { // below it, the present pass still found the one before
				d.mustCreate(t, fmt.Sprintf("new%d", n))
				n++
			}
		})
		if core.CodeOf(err) != core.Stale || s.State != vault.RewrapFailed || s.Remaining != 1 || m.asked > 7 {
			t.Errorf("%+v, %v, new: %d, passes: %d", s, err, n, m.asked)
		}
	})
	rewrapTest(t, "ErrKeyChanged", &mover{current: func(n int) string {
		if n > 2 {
			return "later-key"
		}
		return "next-key"
	}}, func(t *testing.T, d *door) {
		s, err := d.Rewrap(t.Context(), operator, 1000, nil)
		if core.CodeOf(err) != core.Stale || s.State != vault.RewrapFailed || s.Moved != 250 {
			t.Errorf("%+v, %v", s, err)
		}
		if s, err = d.Rewrap(t.Context(), operator, 1000, nil); err != nil || s.Moved != 250 || s.Key != "later-key" {
			t.Errorf("again: %+v, %v", s, err)
		}
	})
}

// TestRewrapRate: a rate is one, although a version takes several calls one after another.
func TestRewrapRate(t *testing.T) {
	for rate, want := range map[int]time.Duration{0: 12500 * time.Millisecond, 10: 25 * time.Second, 50: 5 * time.Second} {
		rewrapTest(t, want.String(), &mover{slow: 250 * time.Millisecond}, func(t *testing.T, d *door) {
			s, err := d.Rewrap(t.Context(), operator, rate, nil)
			if took := s.Ended.Sub(s.StartedAt); err != nil || took < want*95/100 || took > want*105/100 {
				t.Errorf("250 took %s, want %s; %v", took, want, err)
			}
		})
	}
}

func TestStartRewrap(t *testing.T) {
	rewrapTest(t, "OK", &mover{}, func(t *testing.T, d *door) {
		if s, err := d.RewrapStatus(t.Context(), d.admin); err != nil || s.State != vault.RewrapIdle {
			t.Fatalf("%+v, %v", s, err)
		}
		for range 3 { // the second and third find it running
			s, err := d.StartRewrap(t.Context(), d.admin, 0)
			if err != nil || s.State != vault.RewrapRunning || s.Key != "next-key" {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		for { // the bubble's clock runs while nothing else does
			s, err := d.RewrapStatus(t.Context(), d.admin)
			if err != nil {
				t.Fatal(err)
			}
			if s.State == vault.RewrapDone {
				if s.Moved != 250 || s.Ended.IsZero() {
					t.Errorf("%+v", s)
				}
				break
			}
			elapse()
		}
	})
	rewrapTest(t, "ErrNoToken", &mover{}, func(t *testing.T, d *door) {
		_, err := d.StartRewrap(t.Context(), d.reader, 0)
		wantCode(t, err, core.Unauthenticated)
		_, err = d.RewrapStatus(t.Context(), d.reader)
		wantCode(t, err, core.Unauthenticated)
		d.reopen(t, d.keeper) // it has one master key
		_, err = d.StartRewrap(t.Context(), d.admin, 0)
		wantCode(t, err, core.Invalid)
	})
	rewrapTest(t, "StoppedByClose", &mover{}, func(t *testing.T, d *door) {
		if _, err := d.StartRewrap(t.Context(), d.admin, 0); err != nil {
			t.Fatal(err)
		}
		elapse()
		d.job.Close(context.Background())
		s, err := d.RewrapStatus(t.Context(), d.admin)
		if err != nil || s.State != vault.RewrapStopped || s.Moved == 0 || s.Moved == 250 {
			t.Errorf("%+v, %v", s, err)
		}
		_, err = d.StartRewrap(t.Context(), d.admin, 0)
		wantCode(t, err, core.Unavailable)
	})
}

// elapse lets the bubble's clock run for a second; it takes no time.
func elapse() { <-time.After(time.Second) }
