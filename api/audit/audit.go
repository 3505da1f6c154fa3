// Package audit keeps the door's promise that nothing is answered before its record is on its way to durable storage.
package audit

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Appender writes one record to the primary; vault.Store is one.
type Appender interface {
	AppendAudit(ctx context.Context, e vault.Entry) error
}

// Direct inserts every record on the primary before the answer leaves. It promises the most and costs a round trip:
// without a primary nothing is answered. Safe for concurrent use; there is nothing to close.
type Direct struct{ to Appender }

var _ vault.Recorder = Direct{}

// NewDirect returns a Recorder that writes to a.
func NewDirect(a Appender) Direct { return Direct{to: a} }

// Record returns nil once the record is committed. The error is the store's, with its code.
func (d Direct) Record(ctx context.Context, e vault.Entry) error { return d.to.AppendAudit(ctx, e) }
