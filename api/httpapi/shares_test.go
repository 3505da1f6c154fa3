package httpapi

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

// TestQuota: a client has its share, others have the rest, and what is given back can be taken.
func TestQuota(t *testing.T) {
	q := newShares(8)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	take := func(from netip.Addr, want error) func() {
		t.Helper()
		leave, err := q.take(over, from)
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return leave
	}
	first := take(a, nil)
	take(a, nil)
	take(a, errShare)
	take(b, nil)
	first()
	take(a, nil)
	var more []func()
	for i := range 5 {
		more = append(more, take(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), nil))
	}
	take(netip.MustParseAddr("10.0.2.1"), errFull)
	if len(q.by) != 7 {
		t.Errorf("%d clients are remembered", len(q.by))
	}
	t.Run("who waits gets what is given back", func(t *testing.T) {
		got := make(chan error, 1)
		go func() {
			_, err := q.take(context.Background(), netip.MustParseAddr("10.0.2.1"))
			got <- err
		}()
		more[0]()
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

// TestStreamsOfOneClient: a client whose streams are open gets no more than its share.
func TestStreamsOfOneClient(t *testing.T) {
	s := &server{Config: Config{MaxStreams: 64}, streams: newShares(64)}
	one := netip.MustParseAddr("10.0.0.1")
	for range 16 {
		if _, err := s.streams.take(over, one); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.streams.take(over, one)
	if text := s.tooManyStreams(err); text != "this client has 16 event streams already" {
		t.Error(text)
	}
	if _, err := s.streams.take(over, netip.MustParseAddr("10.0.0.2")); err != nil {
		t.Errorf("another client: %v", err)
	}
	if text := s.tooManyStreams(errFull); text != "there are 64 event streams already" {
		t.Error(text)
	}
}
