package audit

import (
	"context"
	"log/slog"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// refusalShare is the divisor of MaxBytes for records of operations that did not succeed. The rest is kept for those
// that did. Any client that reaches the port can cause refusals. It must not be able to end reads by filling the
// journal while the primary is away.
const refusalShare = 2

// bound is one limit of what may wait for the primary. The Journal's mutex guards it.
type bound struct {
	bytes         int64
	reached, left string     // what the log says when the bound begins and ends to refuse
	level         slog.Level // of reached
	refusing      bool
}

func bounds(maxBytes int64) (all, refusals bound) {
	all = bound{
		bytes: maxBytes, level: slog.LevelError, left: "the audit journal has space again",
		reached: "the audit journal is full: every operation is refused until its records arrive at the primary, or VAULT_AUDIT_MAX_BYTES is raised",
	}
	refusals = bound{
		bytes: maxBytes / refusalShare, level: slog.LevelWarn, left: "the audit journal has space for failed requests again",
		reached: "the audit journal is half full: failed requests now get 503 without an audit record, to keep the remaining space for successful ones",
	}
	return all, refusals
}

// takes reports whether size more bytes may wait beside pending. The log hears when that begins and ceases to be so.
func (b *bound) takes(pending, size int64, log *slog.Logger, dir string) bool {
	refusing := pending+size > b.bytes
	if refusing && !b.refusing {
		log.Log(context.Background(), b.level, b.reached, "directory", dir, "pending_bytes", pending, "max_bytes", b.bytes)
	}
	if !refusing && b.refusing {
		log.Info(b.left, "directory", dir)
	}
	b.refusing = refusing
	return !refusing
}

// hasRoom returns nil when size more bytes may wait for the primary. refusals says that they are records of operations
// that did not succeed. The caller holds mu.
func (j *Journal) hasRoom(size int64, refusals bool) error {
	if j.waiting != nil {
		size += int64(len(j.waiting.rests) + j.waiting.n*lineOverhead)
	}
	size += j.leased.waiting.Load()
	if !j.all.takes(j.pending, size, j.c.Log, j.c.Dir) {
		return core.Wrap(core.Unavailable, vault.ErrJournalFull, "the audit journal is full: its records cannot be brought to the primary")
	}
	if !j.refusals.takes(j.pending, size, j.c.Log, j.c.Dir) && refusals {
		return core.Wrap(core.Unavailable, vault.ErrJournalFull, "the audit journal is half full and takes no records of failed requests: its records cannot be brought to the primary")
	}
	return nil
}

// pressed reports whether so much waits for the primary that some operations will soon be refused.
func (j *Journal) pressed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pending > j.refusals.bytes/2
}

// refusalsOnly reports whether nothing of it succeeded.
func refusalsOnly(entries []vault.Entry) bool {
	for i := range entries {
		if entries[i].Outcome == vault.OutcomeOK {
			return false
		}
	}
	return true
}

// Conditions implements vault.Conditioned.
func (j *Journal) Conditions(context.Context) []vault.Condition {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pending < j.refusals.bytes/10*8 { // one more record may be too long before the bound itself is reached
		return nil
	}
	return []vault.Condition{{
		Name: vault.ConditionJournalHalfFull, Part: "journal", Severity: vault.SeverityDegraded,
		Reason: "so many audit records wait for the primary that failed requests get 503 without a record, to keep space for successful ones: bring the primary back",
	}}
}
