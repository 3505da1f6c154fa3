// Package login checks what a client presents to log in: a JWT of a trusted issuer, an AppRole's secret id, or the
// client certificate of its TLS connection. It parses the settings of login methods and their roles, and fetches and
// caches the keys of issuers.
//
// Only asymmetric signatures are accepted, never "none" or HMAC, so a public key cannot serve as a shared secret.
// Nothing here logs a credential, and no error holds one.
package login
