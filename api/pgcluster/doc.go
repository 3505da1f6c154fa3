// Package pgcluster keeps connections to a cluster of PostgreSQL servers: each of a Pool is to the server that is best at
// the time, the primary for a pool that writes, or the first of the settings that answers for one that reads. It finds a
// new primary after a failover, believes no server of an older timeline, cuts connections to servers that fall silent, and
// never cancels a statement. It knows nothing of what is stored there: callers say which statements run, and which errors
// waiting does not fix.
package pgcluster
