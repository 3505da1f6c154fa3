// Package kms holds the keepers: what makes new data keys and unwraps stored ones.
//
// AWS has AWS KMS do it. Local wraps data keys in this process under one master key, for development and for machines
// without AWS. Both are a vault.Keeper, and others stand around them: Recovery adds a second wrapping for an offline
// key, Cache keeps unwrapped keys for a while and counts. Recoverer unwraps with the offline key.
//
// Only AWS uses the network. Nothing here writes to a disk or a log, and no error holds a key or a wrapped key.
package kms

import (
	"encoding/binary"
	"maps"
	"slices"
)

// contextAAD writes label and kmsContext so that no two pairs of them give the same bytes: the label ends with a zero
// byte, the entries are counted, sorted by key, and every string has its length before it.
func contextAAD(label string, kmsContext map[string]string) []byte {
	b := append([]byte(label), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(kmsContext)))
	for _, k := range slices.Sorted(maps.Keys(kmsContext)) {
		b = appendString(b, k)
		b = appendString(b, kmsContext[k])
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
