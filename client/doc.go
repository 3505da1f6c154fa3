// Package client reads and manages the secrets of a HyperionDB Vault over its REST API. It needs nothing but the
// standard library.
//
//	c, err := client.New(client.Config{Address: "https://vault.example.org:8200", Token: token})
//	...
//	v, err := c.Get(ctx, "db/password")
//	if err != nil {
//		return err
//	}
//	defer v.Wipe()
//
// A Client has a method for every operation of the API, and is safe for concurrent use.
//
// # Values
//
// A value is a []byte that the caller owns and can wipe. The package wipes every buffer of its own that has held one.
// What net/http and crypto/tls keep in their buffers is beyond its reach. No error, and no formatting of a Value, shows
// a value or a token.
//
// # Retries
//
// A request that cannot have changed anything is sent again when the server cannot be reached or is unavailable, and any
// request when the server has refused it because of a quota. The pause is what Retry-After says. A change whose answer
// was lost is not repeated, unless repeating it does no harm: the Error then has OutcomeUnknown set, and the caller
// checks the current version.
//
// # Read your writes
//
// The client remembers the position of its last change, and sends it with each read. So a read sees the change on any
// node of the cluster. Position and Advance carry it from one process to another.
//
// # More
//
// Fill reads secrets into a struct by its tags. Cache keeps values, and may serve them while the vault is away. Watch
// follows changes. Package clienttest has a server for tests.
package client
