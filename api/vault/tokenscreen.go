package vault

import (
	"context"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/core/token"
)

const (
	// screenHolds is how long the list of active tokens holds that presented tokens are compared with while their client
	// has had too many refusals: such clients cost the database one query in that time, however many tokens they try.
	screenHolds = time.Second
	// screenTimeout bounds that query.
	screenTimeout = 5 * time.Second
)

// tokenScreen finds the tokens that are worth a look among those that a flood brings, whose client has no look left: a
// good one that this process has never seen must not wait for the flood to end. It decides nothing: who passes is
// authenticated like everybody. Safe for concurrent use; the zero value is ready.
type tokenScreen struct {
	mu     sync.Mutex
	active map[[32]byte]struct{}
	at     time.Time     // of the list; zero = there is none
	asked  chan struct{} // closed when the query under way has ended; nil = there is none
}

// passes reports whether b was an active token within screenHolds, or when the database was last asked and answered.
func (s *tokenScreen) passes(ctx context.Context, b Bearer, now Clock, ask func(context.Context) ([]ActiveToken, error)) bool {
	t, err := token.Parse(string(b))
	if err != nil {
		return false
	}
	for {
		found, asked, mine := s.find(t, now())
		switch {
		case found || asked == nil:
			return found
		case mine:
			s.renew(ctx, now, ask)
			continue
		}
		select {
		case <-asked:
		case <-ctx.Done():
			return false
		}
	}
}

// find looks in the list. When it is too old and t is not in it, asked is the query to wait for, and mine says that the
// caller has to make it.
func (s *tokenScreen) find(t token.Token, now time.Time) (found bool, asked chan struct{}, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for fp := range s.active {
		if token.Match(fp, t) {
			found = true // and go on, so that the time tells nothing
		}
	}
	age := now.Sub(s.at)
	switch {
	case !s.at.IsZero() && age >= 0 && age < screenHolds:
		return found, nil, false
	case s.asked != nil:
		return false, s.asked, false
	}
	s.asked = make(chan struct{})
	return false, s.asked, true
}

// renew asks for the list. A failure leaves the old one, and holds as long.
func (s *tokenScreen) renew(ctx context.Context, now Clock, ask func(context.Context) ([]ActiveToken, error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), screenTimeout) // others wait for it too
	defer cancel()
	defer func() { // whatever becomes of the query
		s.mu.Lock()
		defer s.mu.Unlock()
		s.at = now()
		close(s.asked)
		s.asked = nil
	}()
	list, err := ask(ctx)
	if err != nil {
		return
	}
	active := make(map[[32]byte]struct{}, len(list))
	for _, x := range list {
		active[x.Fingerprint] = struct{}{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = active
}

// refused takes a token off the list that the database does not accept any more.
func (s *tokenScreen) refused(b Bearer) {
	t, err := token.Parse(string(b))
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, t.Fingerprint())
}
