// Package store calls the functions of the vault schema through two connection
// pools: the reader (this node first, then the others) and the writer (whichever
// host accepts writes). It is the only package that knows pgx. It never touches
// a table, never sees a plaintext or an unwrapped key, and turns every database
// error into a core error that holds nothing of the row it was about.
package store
