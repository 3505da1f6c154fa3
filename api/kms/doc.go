// Package kms holds the keepers: what makes new data keys and unwraps stored ones.
//
// AWS has AWS KMS do it. Local wraps data keys in this process under one master key, for development and for machines
// without AWS. Both are a vault.Keeper, and others stand around them: Recovery adds a second wrapping for an offline
// key, Cache keeps unwrapped keys for a while and counts. Recoverer unwraps with the offline key.
//
// Only AWS uses the network. Nothing here writes to a disk or a log, and no error holds a key or a wrapped key.
package kms
