package login

import (
	"context"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// keysFresh is how long fetched keys are used without another fetch. A key that the issuer withdraws is trusted no
	// longer than this while the issuer answers.
	keysFresh = 5 * time.Minute
	// keysHold is how long fetched keys are used while the issuer does not answer.
	keysHold = 24 * time.Hour
	// fetchPause is the least time between two fetches, whatever tokens come: unknown key ids must not turn this node
	// into a hammer.
	fetchPause = 30 * time.Second
)

// keySet is the keys of one issuer. It implements oidc.KeySet. The set of go-oidc fetches again for every unknown key id,
// without a bound, and never drops a key that the issuer withdrew, so it is not used. Safe for concurrent use.
type keySet struct {
	fetch      func(context.Context) ([]jose.JSONWebKey, error) // nil: the keys never change
	algorithms []jose.SignatureAlgorithm
	now        vault.Clock

	mu        sync.Mutex
	keys      []jose.JSONWebKey
	fetchedAt time.Time
	triedAt   time.Time
	failure   error         // of the last fetch; nil = it succeeded
	flight    chan struct{} // closed when the fetch under way ends; nil = there is none
}

// VerifySignature implements oidc.KeySet: it returns the payload of a compact JWT that one of the keys has signed.
// *vault.LoginRefusal when none has; Unavailable when there are no keys to try.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, s.algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, &vault.LoginRefusal{Cause: vault.CauseLoginMalformed}
	}
	keys, err := s.usable(ctx)
	if err != nil {
		return nil, err
	}
	if payload, ok := verify(jws, keys); ok {
		return payload, nil
	}
	// The issuer may have a new key. Its id need not be new.
	if keys, fetched := s.again(ctx); fetched {
		if payload, ok := verify(jws, keys); ok {
			return payload, nil
		}
	}
	return nil, &vault.LoginRefusal{Cause: vault.CauseLoginSignature}
}

// verify tries the keys that the token's header allows. The header's own keys and URLs are never used.
func verify(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, bool) {
	header := jws.Signatures[0].Header
	for _, k := range keys {
		if header.KeyID != "" && k.KeyID != "" && header.KeyID != k.KeyID || k.Algorithm != "" && k.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// usable returns the keys, after a fetch when they are old. While the issuer is away, keys younger than keysHold go on.
func (s *keySet) usable(ctx context.Context) ([]jose.JSONWebKey, error) {
	if s.fetch == nil {
		return s.keys, nil
	}
	s.mu.Lock()
	keys, age := s.keys, s.now().Sub(s.fetchedAt)
	s.mu.Unlock()
	if keys != nil && age >= 0 && age < keysFresh {
		return keys, nil
	}
	s.refresh(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	age = s.now().Sub(s.fetchedAt)
	switch {
	case s.keys != nil && age < keysHold:
		return s.keys, nil
	case s.failure != nil:
		return nil, s.failure
	case ctx.Err() != nil:
		return nil, core.Wrap(core.Unavailable, ctx.Err(), "fetch the keys of the issuer")
	}
	return nil, core.Errorf(core.Unavailable, "the keys of the issuer could not be fetched")
}

// again fetches the keys unless that was tried a moment ago, and reports whether it was done.
func (s *keySet) again(ctx context.Context) ([]jose.JSONWebKey, bool) {
	if s.fetch == nil || !s.refresh(ctx) {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, s.failure == nil
}

// refresh fetches the keys once for all who wait for them. It reports whether a fetch was waited for; false when the
// last one was less than fetchPause ago.
func (s *keySet) refresh(ctx context.Context) bool {
	s.mu.Lock()
	flight := s.flight
	if flight == nil {
		pause := s.now().Sub(s.triedAt)
		if !s.triedAt.IsZero() && pause >= 0 && pause < fetchPause {
			s.mu.Unlock()
			return false
		}
		flight = make(chan struct{})
		s.flight, s.triedAt = flight, s.now()
		// Others wait for it too, so the client that came first does not end it.
		go s.fly(context.WithoutCancel(ctx), flight)
	}
	s.mu.Unlock()
	select {
	case <-flight:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *keySet) fly(ctx context.Context, flight chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	keys, err := guarded(ctx, s.fetch)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
	if err == nil {
		s.keys, s.fetchedAt = keys, s.now()
	}
	s.flight = nil
	close(flight)
}

// guarded turns a panic, which would end the process from here, into an error.
func guarded(ctx context.Context, fetch func(context.Context) ([]jose.JSONWebKey, error)) (keys []jose.JSONWebKey, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = core.Recovered(p)
		}
	}()
	return fetch(ctx)
}
