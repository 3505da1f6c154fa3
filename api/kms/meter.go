package kms

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// LatencyBounds are the upper bounds of the buckets of CallStats.Latency, in ascending order. One more bucket follows
// them, which has no bound.
var LatencyBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second,
}

// CallStats counts the calls of one kind to a keeper. Retries within a call are not counted. Its numbers only grow.
type CallStats struct {
	Calls       uint64
	Unavailable uint64
	Denied      uint64
	Corrupt     uint64
	OtherErrors uint64
	Total       time.Duration                  // time of all calls
	Latency     [len(LatencyBounds) + 1]uint64 // calls per bucket, failed ones included; not cumulative
	Reasons     [len(reasons)]uint64           // calls that failed, by Reason
	LastOK      time.Time                      // of the last one that succeeded; zero = none has

	doubtful bool // the last one failed, in a way that may concern all
}

// Errors is the number of calls that failed.
func (s CallStats) Errors() uint64 { return s.Unavailable + s.Denied + s.Corrupt + s.OtherErrors }

// meter counts the calls of a keeper. Safe for concurrent use.
type meter struct {
	inner vault.Keeper
	now   vault.Clock

	mu                              sync.Mutex
	generate, unwrap, check, rewrap CallStats
}

func (m *meter) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	startedAt := m.now()
	key, err := m.inner.Generate(ctx, kmsContext)
	m.count(&m.generate, startedAt, err)
	return key, err
}

func (m *meter) Unwrap(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	startedAt := m.now()
	plain, err := m.inner.Unwrap(ctx, key, kmsContext)
	m.count(&m.unwrap, startedAt, err)
	return plain, err
}

func (m *meter) Check(ctx context.Context) error {
	startedAt := m.now()
	err := m.inner.Check(ctx)
	m.count(&m.check, startedAt, err)
	return err
}

// doubtful reports whether data keys may be neither made nor unwrapped, whatever Check says: the last call failed.
func (m *meter) doubtful() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generate.doubtful || m.unwrap.doubtful
}

func (m *meter) count(s *CallStats, startedAt time.Time, err error) {
	now := m.now()
	took := now.Sub(startedAt)
	bucket := 0
	for bucket < len(LatencyBounds) && took > LatencyBounds[bucket] {
		bucket++
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Calls++
	s.Total += took
	s.Latency[bucket]++
	if err != nil {
		s.Reasons[reasonOf(err)]++
	}
	switch code := core.CodeOf(err); {
	case code == "":
		s.LastOK, s.doubtful = now, false
	case (code == core.Unavailable || code == core.Denied) && !errors.Is(err, context.Canceled):
		s.doubtful = true
	}
	switch core.CodeOf(err) {
	case "":
	case core.Unavailable:
		s.Unavailable++
	case core.Denied:
		s.Denied++
	case core.Corrupt:
		s.Corrupt++
	default:
		s.OtherErrors++
	}
}
