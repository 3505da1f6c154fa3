// Package exchange is one HTTP request as the protocols of the API share it. api/httpapi owns the connections and the
// checks that come before any protocol: hosts, web pages, proxies, request ids, deadlines and pacing. It hands a request
// for another protocol on as an Exchange. This package decides nothing and reads nothing by itself.
package exchange

import (
	"net/http"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Route is what a request is for, as far as its method and path say.
type Route struct {
	Template string       // path with placeholders, for metrics and the log; "" = no such path. It never holds a name
	Action   vault.Action // what the door would be asked for; "" = nothing it knows
	Name     string       // of the secret, unchecked; "" = none
}

// Problem is what a client is told about an error, before its protocol gives it a form.
type Problem struct {
	Status     int
	Code       string // as in the problem details of our own API
	Text       string // "" for an internal error
	RetryAfter string // whole seconds; "" = the header is not sent
}

// Exchange is one request on its way to its answer. It is not for concurrent use.
type Exchange struct {
	Writer  http.ResponseWriter
	Request *http.Request
	Caller  vault.Caller
	Route   Route
	// Public is set by a handler whose answer does not show that the client had a right.
	Public bool
	// Reader returns the caller with the freshness that the request's headers demand of what it reads.
	Reader func() (vault.Caller, error)
	// ReadBody returns at most limit bytes of the body, which the caller wipes. It takes nothing in from a client that
	// will be refused in any case.
	ReadBody func(limit int64) ([]byte, error)
	// Judge logs what an operator has to know about an error, and returns what the client may.
	Judge func(error) Problem
}

// Protocol is a set of routes beside those of our own API. Implementations are safe for concurrent use.
type Protocol interface {
	// Owns reports whether a path belongs to it, whatever is done with it.
	Owns(path string) bool
	// Route describes a request. It is called for paths that it owns, and for requests of its clients that have no other
	// route.
	Route(r *http.Request) Route
	// IsClient reports whether a request for a path that is no route was sent by a client of the protocol.
	IsClient(r *http.Request) bool
	// Serve answers the request.
	Serve(x *Exchange)
	// Fail answers a request that failed, or that the checks before the protocol refused.
	Fail(x *Exchange, err error)
}

// Pages are what a listener for browsers serves. Implementations are safe for concurrent use.
type Pages interface {
	// Template returns the path of a request for the log; "" = it is that of no page. It never holds what a client has chosen.
	Template(r *http.Request) string
	// Serve answers a request, whose caller has no token yet, and whose Reader is nil.
	Serve(x *Exchange)
	// Fail answers a request that the checks before the pages refused.
	Fail(x *Exchange, err error)
}
