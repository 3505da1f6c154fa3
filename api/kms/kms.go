// Package kms holds the keepers: what makes new data keys and unwraps stored ones.
//
// Local wraps data keys in this process under one master key, for development and for machines without AWS. A keeper
// for AWS KMS stands beside it as another type with the same three methods (vault.Keeper); a cache or a retry wraps
// any of them from outside, so no keeper has its own.
//
// Nothing here writes to a disk, a log or the network, and no error holds a key or a wrapped key.
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
