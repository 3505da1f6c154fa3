package console

import (
	"context"
	"sync"
	"time"
)

const (
	sampleEvery = time.Minute
	sampleLimit = 5 * time.Second // of one sample
	chartSpan   = 24 * time.Hour
	maxSamples  = int(chartSpan/sampleEvery) + 1
)

// sample is the health of the node at one time. It names no secret.
type sample struct {
	at      time.Time
	due     int64
	failing int64
	pending int64 // audit records that have not arrived at the primary
	lagSecs int64
	// keysAway is 1 when the key service could not be used.
	keysAway int64
	known    bool // the database answered
}

// samples are those of the last day, in this process alone. The zero samples is empty. Safe for concurrent use.
type samples struct {
	mu  sync.Mutex
	all []sample // oldest first
}

func (s *samples) add(x sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all = append(s.all, x); len(s.all) > maxSamples {
		s.all = append(s.all[:0], s.all[1:]...)
	}
}

// last returns a copy of those since a time.
func (s *samples) last(since time.Time) (out []sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if !x.at.Before(since) {
			out = append(out, x)
		}
	}
	return out
}

// takeSample asks what the metrics ask, which needs no right and is not recorded.
func (c *Console) takeSample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	x := sample{at: c.clock()}
	if s, err := c.vault.Counts(ctx); err == nil {
		x.known, x.due, x.failing = true, s.Due, s.Failing
	}
	if r, err := c.vault.Replication(ctx); err == nil {
		x.lagSecs = int64(r.Lag / time.Second)
	}
	if c.journal != nil {
		x.pending = int64(c.journal().Pending)
	}
	for _, check := range c.vault.Ready(ctx) {
		if check.Name == "keys" && check.Err != nil {
			x.keysAway = 1
		}
	}
	if ctx.Err() == nil || x.known {
		c.samples.add(x)
	}
}
