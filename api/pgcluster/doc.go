// Package pgcluster finds the right server of a PostgreSQL cluster and keeps connections to it. For a pool that writes
// that is the primary. For one that reads it is the first server of the settings that answers. The package finds a new
// primary after a failover, accepts no server of an older timeline, cuts connections to servers that fall silent, and
// never cancels a statement. It knows nothing of what is stored there. Its callers say which statements run, and which
// errors waiting does not fix.
package pgcluster
