package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/client/clienttest"
)

const patience = 20 * time.Second

// follow sends the events of a watch as texts, and an error as the last one.
func follow(t *testing.T, c *client.Client, o client.WatchOptions) (events <-chan string, connected <-chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, open, done := make(chan string, 100), make(chan string, 100), make(chan struct{})
	o.OnConnect = func(id string) { open <- id }
	go func() {
		defer close(done)
		for e, err := range c.Watch(ctx, o) {
			switch {
			case err != nil:
				out <- err.Error()
			case e.Reset:
				out <- "reset"
			default:
				out <- fmt.Sprintf("%s %s %d", e.Action, e.Name, e.Version)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return out, open
}

func next(t *testing.T, from <-chan string, want string) {
	t.Helper()
	select {
	case got := <-from:
		if got != want && want != "" {
			t.Fatalf("%q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("nothing came, want %q", want)
	}
}

func TestWatchGoesOnWhereItWas(t *testing.T) {
	s := clienttest.NewServer(t)
	events, connected := follow(t, s.Client(t), client.WatchOptions{Prefix: "db"})
	next(t, connected, "")
	s.Put("db/a", "1")
	s.Put("dbx", "1")
	s.Put("db/a", "2")
	next(t, events, "create db/a 1")
	next(t, events, "update db/a 2")
	s.SetDown(true)
	s.Put("db/a", "3") // while no stream is open
	s.SetDown(false)
	next(t, connected, "")
	next(t, events, "update db/a 3")
	s.Remove("db/a")
	next(t, events, "delete db/a 3")
}

func TestWatchResets(t *testing.T) {
	s := clienttest.NewServer(t)
	events, _ := follow(t, s.Client(t), client.WatchOptions{After: "7-99-0"})
	next(t, events, "reset")
	s.Put("a", "1")
	next(t, events, "create a 1")
}

func TestWatchEndsWhenRefused(t *testing.T) {
	s := clienttest.NewServer(t)
	c := s.Client(t)
	c, err := c.WithToken("hvt_other")
	if err != nil {
		t.Fatal(err)
	}
	events, _ := follow(t, c, client.WatchOptions{})
	next(t, events, "watch: a valid token is needed")
}

// A cache that follows the events serves a value for long, and none that has changed.
func TestCacheFollows(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("a", "1")
	c := s.Client(t)
	k := client.NewCache(c, client.CacheOptions{Fresh: time.Hour})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- k.Follow(ctx, "") }()
	value := func() string {
		v, err := k.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		return string(v.Bytes)
	}
	for s.Requests("GET /v1/events") == 0 {
		time.Sleep(time.Millisecond)
	}
	value()
	value()
	s.Put("a", "2")
	for deadline := time.Now().Add(patience); value() != "2"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the old value is still served")
		}
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Error(err)
	}
}
