// Package audit keeps the door's promise that nothing is answered before its record is on its way to durable storage.
package audit

import (
	"context"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Appender writes records to the primary, all or none, in their order; vault.Store is one.
type Appender interface {
	AppendAudit(ctx context.Context, entries []vault.Entry) error
}

const (
	// writers are commits on their way at once. More would make the groups smaller; fewer would make a record wait
	// for the whole commit before its own.
	writers = 4
	// maxGroup is the most records of one commit.
	maxGroup = 256
	// commitTimeout bounds one commit. The records' own contexts bound their waits.
	commitTimeout = 10 * time.Second
)

// Direct inserts every record on the primary before the answer leaves: without a primary nothing is answered. Records
// that wait at the same moment share a commit. Safe for concurrent use.
type Direct struct {
	to      Appender
	queue   chan record
	closing chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

// record is an entry and where its fate is told; told holds one, so that nobody has to be there to hear it.
type record struct {
	entry vault.Entry
	told  chan error
}

var _ vault.Recorder = (*Direct)(nil)

// NewDirect returns a Recorder that writes to a. Close it after its last use.
func NewDirect(a Appender) *Direct {
	d := &Direct{to: a, queue: make(chan record), closing: make(chan struct{})}
	for range writers {
		d.running.Go(d.write)
	}
	return d
}

// Record returns nil once the entries are committed, one after the other. The error is the store's, with its code; Unavailable when ctx ends
// first, and the record may be written all the same.
func (d *Direct) Record(ctx context.Context, entries ...vault.Entry) error {
	for _, e := range entries {
		if err := d.recordOne(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *Direct) recordOne(ctx context.Context, e vault.Entry) error {
	r := record{entry: e, told: make(chan error, 1)}
	select {
	case d.queue <- r:
	case <-d.closing:
		return core.Errorf(core.Unavailable, "the audit is closed")
	case <-ctx.Done():
		return core.Wrap(core.Unavailable, ctx.Err(), "the audit record could not be written in time")
	}
	select {
	case err := <-r.told:
		return err
	case <-ctx.Done():
		return core.Wrap(core.Unavailable, ctx.Err(), "the audit record could not be written in time")
	}
}

// Close refuses further records and returns when those under way are written or have failed.
func (d *Direct) Close() {
	d.once.Do(func() { close(d.closing) })
	d.running.Wait()
}

func (d *Direct) write() {
	for {
		select {
		case r := <-d.queue:
			d.commit(d.gather(r))
		case <-d.closing:
			return
		}
	}
}

// gather adds whoever waits at this moment, and waits for nobody.
func (d *Direct) gather(first record) []record {
	group := []record{first}
	for len(group) < maxGroup {
		select {
		case r := <-d.queue:
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// commit writes a group. If the store finds a record of it malformed, each is written alone, so that one cannot take
// the others with it.
func (d *Direct) commit(group []record) {
	err := d.append(group)
	if core.CodeOf(err) == core.Invalid && len(group) > 1 {
		for i := range group {
			group[i].told <- d.append(group[i : i+1])
		}
		return
	}
	for _, r := range group {
		r.told <- err
	}
}

func (d *Direct) append(group []record) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	entries := make([]vault.Entry, len(group))
	for i, r := range group {
		entries[i] = r.entry
	}
	return d.to.AppendAudit(ctx, entries)
}
