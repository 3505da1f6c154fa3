// Package httpapi is the REST transport: routes, strict decoding, problem
// answers. It decides about no caller. Every request about secrets, well formed or not,
// ends in exactly one method of the door, which admits, acts and records. gin
// stays in here; bodies, queries, headers and values never reach a log.
package httpapi
