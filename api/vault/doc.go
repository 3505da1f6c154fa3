// Package vault is the door: the only way to a secret's value. Each exported
// method of Vault decides whether the caller may, acts, and records the outcome
// before anything leaves. The package declares the interfaces it needs (Store,
// Keeper, Recorder) and knows no transport, database or key service.
package vault
