package vault

import (
	"context"
	"errors"
	"time"
)

// JournalID is the random UUID of a node's journal.
type JournalID [16]byte

// Journaled is a record of a node's journal.
type Journaled struct {
	Sequence uint64    // from 1, without gaps
	At       time.Time // by the node's clock, to the microsecond
	Taken    Taken     // of a leased read
	Entry
}

// Taken is where a journal found the record of a leased read: in which of the files that backends write to, and at
// which byte the record ends. The zero Taken is of a record that came another way.
type Taken struct {
	File uint64 // from 1
	End  int64
}

// Errors that a JournalLink returns beside those of a Store, and Denied when the API's role may not ship.
var (
	// ErrJournalGap: the primary misses records before the first that was sent.
	ErrJournalGap = errors.New("the primary misses earlier records of this journal")
	// ErrJournalForked: the primary has other records under the same numbers.
	ErrJournalForked = errors.New("the primary has other records under the numbers of this journal")
)

// JournalLink is a connection to the primary by which a journal's records arrive in the audit log, each once. It is
// for one goroutine. After an error it can only be closed; the records may have arrived or not.
type JournalLink interface {
	// Arrived returns the number and the time of the last record that has arrived. 0: none has. The time is zero where
	// the primary no longer has that record.
	Arrived(ctx context.Context, id JournalID) (last uint64, at time.Time, err error)
	// Ship appends records with numbers in a row, all or none, leaving out what has arrived, and returns the last that
	// then has. Errors: Unavailable, Invalid when the primary finds one malformed, ErrJournalGap, ErrJournalForked.
	Ship(ctx context.Context, id JournalID, node string, records []Journaled) (last uint64, err error)
	// Skip makes the primary go on after a record that this node no longer has, and leave a record of that.
	Skip(ctx context.Context, id JournalID, node string, lastMissing uint64) (last uint64, err error)
	Close()
}

// AuditState is what may be told of a journal.
type AuditState struct {
	Pending       uint64    // records that have not arrived at the primary
	PendingBytes  int64     // of them
	MaxBytes      int64     // past which records are refused
	OldestPending time.Time // zero = none is pending
	Recorded      uint64    // by this process
	Refused       uint64    // records that could not be written, by this process
	Shipped       uint64    // by this process
	LastShippedAt time.Time // when the primary last took or confirmed records; zero = never
	Leased        uint64    // records of leased reads that were taken, by this process
	LeasedBytes   int64     // in the files of leased reads, not taken yet
	LeasedDamaged uint64    // pieces of these files that were no records, by this process
	LastShipError string    // "" = the last attempt went well; else unavailable, denied, forked, damaged or internal
}

// Journal is a Recorder that can tell how it is.
type Journal interface {
	Recorder
	AuditState() AuditState
	// Check returns nil when a record could be written now.
	Check(ctx context.Context) error
}
