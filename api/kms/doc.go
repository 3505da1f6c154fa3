// Package kms holds the keepers, which make new data keys and unwrap stored ones.
//
// AWS calls AWS KMS for it. Local wraps data keys in this process under one master key, for development and for
// machines without AWS. Both are a vault.Keeper, and other keepers wrap them. Recovery adds a second wrapping for an
// offline key. Succession adds a former master key. Cache keeps unwrapped keys for a while and counts calls.
// Recoverer unwraps with the offline key.
//
// Only AWS uses the network. Nothing here writes to a disk or a log, and no error contains a key or a wrapped key.
// Where a comment names a core code as an error, the code is that of core.CodeOf.
package kms
