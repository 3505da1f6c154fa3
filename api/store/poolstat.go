package store

import (
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
)

// PoolStat is the use of one of the pools.
type PoolStat struct {
	Name                     string // "reader" or "writer"
	Max, InUse, Idle         int
	Acquired, Waited, GaveUp uint64 // handed out, of these when none was idle, and requests that ended before they had one
	AcquireWaited            time.Duration
}

// Pools returns how the pools are used.
func (d *DB) Pools() []PoolStat {
	return []PoolStat{statOf("reader", d.reader), statOf("writer", d.writer)}
}

func statOf(name string, p *pgcluster.Pool) PoolStat {
	s := p.Stat()
	return PoolStat{
		Name: name, Max: int(s.MaxConns()), InUse: int(s.AcquiredConns()), Idle: int(s.IdleConns()), Acquired: uint64(s.AcquireCount()),
		Waited: uint64(s.EmptyAcquireCount()), GaveUp: uint64(s.CanceledAcquireCount()), AcquireWaited: s.EmptyAcquireWaitTime(),
	}
}
