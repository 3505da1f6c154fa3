package vault

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// MaxExport is how many audit records one Next returns at most.
const MaxExport = 1000

// AuditRecord is a record of the audit log as it is stored: rows may have been edited by hand, so nothing is parsed.
type AuditRecord struct {
	ID          int64
	At          time.Time // zero = malformed
	Node        string
	Actor       string
	Accessor    string // of the token that was used
	Method      string // by which that token was issued
	SessionRole string
	ClientIP    string
	Action      string
	Name        string
	Version     int64 // 0 = none
	Outcome     string
	Code        string
	RequestID   string
	Details     json.RawMessage // nil = none
}

// AuditLog is the part of Store that reads the audit.
type AuditLog interface {
	// AuditAfter returns at most limit records after an id, in the order of ids, and only those before which no record
	// can still appear, of names that the caller may audit. It queries the reader.
	AuditAfter(ctx context.Context, by Credential, after int64, limit int) ([]AuditRecord, Identity, error)
	// NewestAudit returns at most limit records that a filter selects, newest first, of names that the caller may audit. It
	// queries the reader.
	NewestAudit(ctx context.Context, by Credential, q AuditFilter, limit int, f Freshness) ([]AuditRecord, Identity, error)
}

// Export reads the audit from an id on. Not safe for concurrent use.
type Export struct {
	v     *Vault
	by    Credential
	after int64
}

// ExportAudit begins an export after the record with an id; 0 begins with the first one. It needs the right audit, and
// is recorded once, before any record is returned. begin is called when the caller has been admitted, for what a transport
// keeps for those alone; its error refuses the export. Errors: Unauthenticated, Denied, Invalid, Unavailable, those of begin.
func (v *Vault) ExportAudit(ctx context.Context, c Caller, after int64, begin func() error) (*Export, error) {
	a := v.try(c, ActionAudit, "", 0)
	err := a.serve(ctx, func(ctx context.Context) error {
		if err := a.decide(ctx, Freshness{}); err != nil {
			return err
		}
		if after < 0 {
			return core.Errorf(core.Invalid, "the id to go on after is negative")
		}
		return begin()
	})
	if err != nil {
		return nil, err
	}
	return &Export{v: v, by: a.by, after: after}, nil
}

// Next returns the next records, at most limit of them and at most MaxExport; none when there are no more by now.
// The right is decided again. Errors: Unauthenticated, Denied, Unavailable; the next call then goes on at the same place.
func (e *Export) Next(ctx context.Context, limit int) ([]AuditRecord, error) {
	page, _, err := e.v.c.Store.AuditAfter(ctx, e.by, e.after, min(limit, MaxExport))
	if err == nil && len(page) > 0 {
		e.after = page[len(page)-1].ID
	}
	return page, err
}
