// Package audit keeps the door's promise that no request is answered before its audit record is on its way to durable
// storage.
//
// A Journal is a directory of the node. Every record is written there before its answer leaves, whether or not there
// is a primary. A Shipper carries each record to the audit log on the primary once. Direct writes to the primary at
// once, for commands that need the primary anyway.
package audit

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Appender writes records to the primary in their order, all or none. vault.Store is an Appender.
type Appender interface {
	AppendAudit(ctx context.Context, entries []vault.Entry) error
}

// Direct inserts every record on the primary before the answer leaves. So without a primary no request is answered.
// Safe for concurrent use. The zero Direct panics.
type Direct struct{ to Appender }

var _ vault.Recorder = Direct{}

// NewDirect returns a Recorder that writes to a.
func NewDirect(a Appender) Direct { return Direct{a} }

// Record returns nil once the entries are committed. The error is the Appender's, with its code.
func (d Direct) Record(ctx context.Context, entries ...vault.Entry) error {
	return d.to.AppendAudit(ctx, entries)
}
