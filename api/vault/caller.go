package vault

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
)

// Bearer is the token a caller presented, unchecked; "" means none.
// Every way of printing it shows a constant.
type Bearer string

const redacted = "REDACTED"

// String returns a constant.
func (Bearer) String() string { return redacted }

// GoString returns a constant.
func (Bearer) GoString() string { return redacted }

// LogValue returns a constant.
func (Bearer) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format writes a constant, whatever the verb.
func (Bearer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns a constant.
func (Bearer) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Caller is who asks through REST. The door decides what it may do: a transport
// fills in what it saw and judges nothing.
type Caller struct {
	Addr      netip.Addr // client address; the zero Addr is allowed nothing
	Bearer    Bearer     // presented token; "" = none
	RequestID string     // copied to the audit record
	Freshness Freshness  // of what its reads see; changes are made on the primary anyway
}

// Operator is who works on the tokens from a shell of the node. Holding
// the service role's database password is what authorises it; no transport may
// make one.
type Operator struct {
	Name      string // operating-system user, e.g. "root"; recorded as "cli:NAME"
	RequestID string
}

// SQLCaller is who asks from a PostgreSQL backend, as the extension reports it.
// PostgreSQL has already decided that the role may do what it asks.
type SQLCaller struct {
	Database    string // must be the database this process serves
	Role        string // effective role; recorded as "role:NAME"
	SessionRole string // role the session logged in as
	ClientAddr  string // textual IP address; "" for a unix-socket client
	RequestID   string
}

// Origin says in an audit record where an operation came from.
type Origin struct {
	Node        string
	Actor       string     // what a Store found of a REST caller, "anonymous", "cli:OSUSER", "role:NAME", "rotator"
	SessionRole string     // the role that the actor acts as, or logged in as; "" = none
	ClientIP    netip.Addr // zero = none (a unix socket, a shell)
	RequestID   string
}
