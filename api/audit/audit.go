// Package audit keeps the door's promise that nothing is answered before its record is on its way to durable storage.
//
// A Journal is a folder of the node in which every record stands before its answer leaves, whether or not there is a
// primary. A Shipper carries the records to the audit log on the primary, each once. Direct writes there at once; it
// is for commands that need the primary anyway.
package audit

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Appender writes records to the primary, all or none, in their order; vault.Store is one.
type Appender interface {
	AppendAudit(ctx context.Context, entries []vault.Entry) error
}

// Direct inserts every record on the primary before the answer leaves: without a primary nothing is answered. Safe
// for concurrent use.
type Direct struct{ to Appender }

var _ vault.Recorder = Direct{}

// NewDirect returns a Recorder that writes to a.
func NewDirect(a Appender) Direct { return Direct{a} }

// Record returns nil once the entries are committed. The error is the store's, with its code.
func (d Direct) Record(ctx context.Context, entries ...vault.Entry) error {
	return d.to.AppendAudit(ctx, entries)
}
