package hvsql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/client"
)

// heldSource has each fetch wait until the test answers it with a password.
type heldSource struct {
	asked   chan struct{}
	answers chan string
}

func (s *heldSource) fetch(ctx context.Context, _ Credential) (Credential, error) {
	s.asked <- struct{}{}
	select {
	case password := <-s.answers:
		return Credential{Username: "app", Password: password}, nil
	case <-ctx.Done():
		return Credential{}, ctx.Err()
	}
}

func (*heldSource) follow(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

// within returns what comes from a channel, within a bound.
func within[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(pgtest.Patience):
		t.Fatal("it never comes: ", what)
	}
	return v
}

// TestRefusedLoginWaitsForTheNextFetch: a fetch that is under way when a login is refused may have read the former password. So
// the login waits for the one after it.
func TestRefusedLoginWaitsForTheNextFetch(t *testing.T) {
	s := &heldSource{asked: make(chan struct{}, 3), answers: make(chan string, 1)}
	s.answers <- "one"
	f, err := NewFollower(t.Context(), s)
	pgtest.Must(t, err)
	t.Cleanup(f.Close)
	within(t, s.asked, "the first fetch")
	signal(f.wake)
	within(t, s.asked, "a fetch")
	replaced := make(chan string, 1)
	go func() {
		c, err := f.Replace(t.Context(), f.Current())
		replaced <- fmt.Sprintf("%s, %v", c.Password, err)
	}()
	pgtest.Eventually(t, "the login waits", func() bool { return len(f.urgent) == 1 })
	s.answers <- "one"
	within(t, s.asked, "another fetch")
	s.answers <- "two"
	if got := within(t, replaced, "a newer credential"); got != "two, <nil>" {
		t.Error(got)
	}
}

// TestWaitingLoginEndsAPause: after failures fetches are far apart, and a login that waits for one does not wait for that.
func TestWaitingLoginEndsAPause(t *testing.T) {
	life, end := context.WithCancel(t.Context())
	f := &Follower{life: life, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), fetched: make(chan struct{})}
	waiting, paused := make(chan error, 1), make(chan bool, 1)
	go func() {
		_, err := f.Replace(t.Context(), f.Current())
		waiting <- err
	}()
	go func() { paused <- f.rest(time.Hour) }()
	if !within(t, paused, "the end of the pause") {
		t.Error("the follower is closed")
	}
	end()
	if err := within(t, waiting, "the end of the login"); err == nil {
		t.Error("a follower that is closed has another credential")
	}
}

// fakeVault answers as a vault with one secret, whose version is 3, and with leases that it may refuse to renew.
type fakeVault struct {
	refusal client.Code
	issued  atomic.Int64
}

func (v *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/events"):
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, "id: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case strings.HasSuffix(r.URL.Path, "/renew") && v.refusal != "":
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"code": v.refusal, "detail": "no"})
	case strings.Contains(r.URL.Path, "/secrets/"):
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "db", "version": 3, "current_version": 3, "value": "password-3"})
	default:
		now := time.Now()
		_ = json.NewEncoder(w).Encode(client.Lease{
			ID: fmt.Sprint("lease-", v.issued.Add(1)), Username: "leased", Password: "password", TTLSecs: 3600, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
			MaxExpiresAt: now.Add(time.Hour),
		})
	}
}

func (v *fakeVault) mustServe(t *testing.T) *client.Client {
	t.Helper()
	s := httptest.NewServer(v)
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{Address: s.URL, Token: "token"})
	pgtest.Must(t, err)
	t.Cleanup(c.Close)
	return c
}

// TestNoOlderVersionThanAnnounced: a node that has not replayed a change yet is not believed. Once the stream has opened again
// any version is, because the vault may have been restored.
func TestNoOlderVersionThanAnnounced(t *testing.T) {
	c := new(fakeVault).mustServe(t)
	s := &secretSource{c: c, name: "db", username: "app"}
	s.announced.Store(7)
	if got, err := s.fetch(t.Context(), Credential{}); err == nil || strings.Contains(err.Error(), "password-3") {
		t.Errorf("version 3 after version 7: %v, %v", got, err)
	}
	opened, ended := make(chan struct{}, 1), make(chan error, 1)
	ctx, end := context.WithCancel(t.Context())
	go func() { ended <- s.follow(ctx, func() { signal(opened) }) }()
	within(t, opened, "the stream")
	if got, err := s.fetch(t.Context(), Credential{}); err != nil || got.Password != "password-3" {
		t.Errorf("after a restore: %v, %v", got, err)
	}
	end()
	pgtest.Must(t, within(t, ended, "the end of the stream"))
}

// TestOnlyALeaseThatIsGoneIsReplaced: another role is leased if the vault no longer has the lease or ends it, and not if it cannot
// say.
func TestOnlyALeaseThatIsGoneIsReplaced(t *testing.T) {
	for refusal, want := range map[client.Code]int64{client.NotFound: 2, client.Invalid: 2, client.Unavailable: 1, client.Denied: 1, client.Internal: 1} {
		v := &fakeVault{refusal: refusal}
		s := Lease(v.mustServe(t), "app/any")
		first, err := s.fetch(t.Context(), Credential{})
		pgtest.Must(t, err)
		second, err := s.fetch(t.Context(), first)
		if n := v.issued.Load(); n != want || (err == nil) != (want == 2) || (err == nil && second.LeaseID == first.LeaseID) {
			t.Errorf("%s: %d leases were issued, %v, %v", refusal, n, second, err)
		}
	}
}

// statedError is an error of a driver.
type statedError struct{ state, text string }

func (e statedError) Error() string    { return e.text }
func (e statedError) SQLState() string { return e.state }

// TestRefusedLogins: PgBouncer has one SQLSTATE for all that it refuses.
func TestRefusedLogins(t *testing.T) {
	for err, want := range map[error]bool{
		statedError{"28P01", "password authentication failed"}:                true,
		statedError{"28000", "role is not permitted to log in"}:               true,
		statedError{"08P01", "SASL authentication failed"}:                    true,
		statedError{"08P01", "no more connections allowed"}:                   false,
		statedError{"53300", "too many connections, authentication failed"}:   false,
		statedError{"28", "authentication failed"}:                            false,
		errors.New("authentication failed (SQLSTATE 28P01)"):                  false,
		fmt.Errorf("connect: %w", statedError{"28P01", "it was not the one"}): true,
	} {
		if isRefused(err) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
}
