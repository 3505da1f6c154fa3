// Package hvsql connects to PostgreSQL with the credential that a HyperionDB Vault holds at the moment. A rotated password, the
// other role of a pair, or another lease then needs no restart and costs no failed query.
//
// A Follower knows the current credential. It comes from a secret (Secret, PasswordOf) or is a leased role (Lease). The
// follower fetches it again when the vault reports a change, before a lease ends, and when PostgreSQL has refused it.
//
//	f, err := hvsql.NewFollower(ctx, hvsql.Secret(vault, "db/app"))
//	...
//	defer f.Close()
//	db := sql.OpenDB(hvsql.NewConnector(f, open))
//
// NewConnector serves database/sql. Each connection is opened with the credential that is current then. A connection that was
// opened with an earlier one is closed when database/sql takes it from its pool or puts it back, and never while it is in use.
// BeforeConnect and IsCurrent do the same for the pool of pgx.
//
// While the vault is away, the last credential stays in use until it ends. The package imports no driver. It needs the standard
// library and the client of this module.
package hvsql
