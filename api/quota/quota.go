// Package quota bounds how often each principal may do something. It knows neither HTTP nor the database. The caller
// passes the principal and the time. The package never delays anything. It never refuses a principal for what another
// principal did, unless there are more principals than it keeps apart.
package quota

import (
	"net/netip"
	"time"
)

// Kind is what a quota bounds. Each kind has its own buckets. An unknown kind counts as Changes.
type Kind string

// The kinds.
const (
	Reads    Kind = "reads"    // requests that change nothing
	Verifies Kind = "verifies" // candidates that were wrong
	Changes  Kind = "changes"  // requests that change something
)

// Kinds are all kinds. Do not modify it.
var Kinds = []Kind{Reads, Verifies, Changes}

// Limits has the rate of each kind. A zero rate bounds nothing, and so does the zero Limits.
type Limits struct{ Reads, Verifies, Changes Rate }

// of returns the rate of a kind.
func (l Limits) of(k Kind) Rate {
	switch k {
	case Reads:
		return l.Reads
	case Verifies:
		return l.Verifies
	}
	return l.Changes
}

// Key names a principal, and a secret if each secret counts by itself. The zero Key stands for all principals that
// cannot be kept apart.
type Key struct {
	Token   [32]byte     // fingerprint of a token
	Network netip.Prefix // of a client without a token
	Role    string       // a role, or another identifier of a principal
	Secret  string       // "" = all secrets count together
}

// Quota holds the buckets of all principals. Its memory is bounded, because a bucket that is full again is forgotten.
// It is safe for concurrent use. The zero Quota bounds nothing. A Quota must not be copied.
type Quota struct{ reads, verifies, changes Buckets[Key] }

// Set puts limits in force. A kind whose rate changes starts with full buckets.
func (q *Quota) Set(l Limits) {
	for _, k := range Kinds {
		q.buckets(k).Set(l.of(k))
	}
}

// Take takes one token from the bucket of a principal at the time at. If the bucket is empty, ok is false and retry is
// how long after at the bucket has a token again. An empty bucket counts as a refusal.
func (q *Quota) Take(k Kind, of Key, at time.Time) (retry time.Duration, ok bool) {
	return q.TakeN(k, of, 1, at)
}

// TakeN is Take for a request that counts as n. An n below 1 counts as 1. A request that counts as more than a full
// bucket takes a full bucket.
func (q *Quota) TakeN(k Kind, of Key, n int, at time.Time) (retry time.Duration, ok bool) {
	return q.buckets(k).Take(of, n, at)
}

// Look is like Take, but leaves the bucket unchanged. An empty bucket counts as a refusal here too.
func (q *Quota) Look(k Kind, of Key, at time.Time) (retry time.Duration, ok bool) {
	return q.buckets(k).Look(of, at)
}

// Forget drops the bucket of a principal that turned out not to exist, so that invented principals take no memory.
func (q *Quota) Forget(k Kind, of Key) { q.buckets(k).Forget(of) }

// Rate returns the rate in force for a kind. It is zero if the kind has no limit.
func (q *Quota) Rate(k Kind) Rate { return q.buckets(k).Rate() }

// Refused returns how many requests of a kind were over their quota since the process started.
func (q *Quota) Refused(k Kind) uint64 { return q.buckets(k).Refused() }

func (q *Quota) buckets(k Kind) *Buckets[Key] {
	switch k {
	case Reads:
		return &q.reads
	case Verifies:
		return &q.verifies
	}
	return &q.changes
}
