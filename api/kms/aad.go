package kms

import (
	"encoding/binary"
	"slices"
)

// contextAAD writes label and kmsContext so that no two pairs of them give the same bytes: the label ends with a zero
// byte, the entries are counted, sorted by key, and every string has its length before it.
func contextAAD(label string, kmsContext map[string]string) []byte {
	b := append(append(make([]byte, 0, 512), label...), 0) // with room for a key id and a wrapped key behind it
	b = binary.BigEndian.AppendUint32(b, uint32(len(kmsContext)))
	keys := make([]string, 0, 4)
	for k := range kmsContext {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = appendString(b, k)
		b = appendString(b, kmsContext[k])
	}
	return b
}

func appendString[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
