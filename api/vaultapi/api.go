// Package vaultapi speaks the protocol of HashiCorp Vault and OpenBao, as far as it is about secrets of the KV engine,
// version 2, tokens and the state of the server, so that their clients work unmodified. It is a transport like
// api/httpapi, which hands requests on to it: it knows no SQL, decides nothing and opens nothing, and calls only the door.
// So grants, audit, quotas and consistency are those of our own API. What is not supported gets an error of that protocol,
// never an answer that would mean something else. docs/VAULT_API.md has the table of what is served.
package vaultapi

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// DefaultMount is where the KV engine is mounted unless a setting says otherwise.
const DefaultMount = "secret"

// protocolVersion is the version of OpenBao whose protocol is spoken. Clients decide by it which requests they may send;
// it is not the version of this program.
const protocolVersion = "2.6.2"

// Config is what an API is made of. Vault is required.
type Config struct {
	Vault *vault.Vault
	Mount string // one segment of a path; "" = DefaultMount
	// OnlyLogins leaves out everything but the logins, which clients of our own API need as well.
	OnlyLogins bool
	Database   string // that is served: the ids that clients see are made of it
	// MaxValueLen bounds the body of a write, in bytes of a value; 0 = core.DefaultMaxValueLen.
	MaxValueLen int
	Clock       vault.Clock // nil = the system's clock
}

// API is the protocol. It is safe for concurrent use.
type API struct {
	vault     *vault.Vault
	mount     string
	clock     vault.Clock
	maxValue  int
	clusterID string
	accessor  string
	uuid      string // of the mount
	exact     map[string]*endpoint
	kv        map[string]*endpoint // by the first segment below the mount
	auth      map[string]*endpoint // below the mount of a login method, with names as *
	onlyAuth  bool                 // logins are all that is served
	pace      pace
}

var _ exchange.Protocol = (*API)(nil)

// New returns the protocol, served below /v1/.
func New(c Config) *API {
	a := &API{vault: c.Vault, mount: c.Mount, clock: c.Clock, maxValue: c.MaxValueLen, onlyAuth: c.OnlyLogins}
	if a.maxValue <= 0 {
		a.maxValue = core.DefaultMaxValueLen
	}
	if a.mount == "" {
		a.mount = DefaultMount
	}
	if a.clock == nil {
		a.clock = time.Now
	}
	a.clusterID = idOf("cluster", c.Database)
	a.uuid = idOf("mount", c.Database, a.mount)
	a.accessor = "kv_" + a.uuid[:8]
	a.exact, a.kv, a.auth = exactEndpoints(), kvEndpoints(), authEndpoints(c.OnlyLogins)
	return a
}

// idOf returns a UUID that is the same on every node, whatever the node is called.
func idOf(parts ...string) string {
	h := sha256.Sum256([]byte("hyperion-vault/" + strings.Join(parts, "\x00")))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8: made of other data
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// Owns implements exchange.Protocol.
func (a *API) Owns(path string) bool {
	if e, _, _ := a.findAuth(path); e != nil {
		return true
	}
	if a.onlyAuth {
		return false
	}
	for _, prefix := range []string{root + a.mount + "/", root + "sys/", root + "auth/token/", root + databaseMount + "/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// Route implements exchange.Protocol.
func (a *API) Route(r *http.Request) exchange.Route {
	e, _, rest := a.find(r.URL.Path)
	if e == nil {
		return exchange.Route{}
	}
	out := exchange.Route{Template: e.template}
	o, ok := e.ops[operationOf(r)]
	if !ok {
		return out
	}
	if out.Action = o.action; o.named {
		out.Name = rest
	}
	return out
}

// IsClient implements exchange.Protocol: only clients of the protocol send its headers and the verb LIST.
func (a *API) IsClient(r *http.Request) bool {
	return !a.onlyAuth && (r.Method == methodList || r.Method == methodScan || r.Header.Get("X-Vault-Request") != "" || r.Header.Get("X-Vault-Token") != "")
}

// request is an exchange with what its path says.
type request struct {
	*exchange.Exchange
	op    op
	mount string // of a login method, where the path has one
	rest  string // what follows the template's fixed part, or the name in the middle of it
}

// Serve implements exchange.Protocol.
func (a *API) Serve(x *exchange.Exchange) {
	if x.Request.TLS != nil {
		x.Writer.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	}
	if to, ok := cleaned(x.Request.URL); !ok {
		x.Public = true
		x.Writer.Header().Set("Location", to)
		x.Writer.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	if err := a.serve(x); err != nil {
		a.Fail(x, err)
	}
}

func (a *API) serve(x *exchange.Exchange) error {
	e, mount, rest := a.find(x.Request.URL.Path)
	r := &request{Exchange: x, op: operationOf(x.Request), mount: mount, rest: rest}
	ttl, err := wrapTTL(x.Request.Header)
	if err = cmp.Or(checkHeaders(x), err); err != nil {
		x.Public = true
		return a.reject(r, err)
	}
	if e == nil {
		return a.reject(r, errNoPath(x.Request.URL.Path))
	}
	o, ok := e.ops[r.op]
	if !ok {
		return a.reject(r, errUnsupported())
	}
	x.Public = o.public
	switch {
	case ttl == 0 || o.public: // what every client may know is not wrapped
		return o.run(a, r)
	case o.action == vault.ActionUnwrap || o.action == vault.ActionWrapLookup:
		return a.reject(r, invalid("the answer of this path is not wrapped"))
	}
	return a.runWrapped(r, o, ttl)
}

// reject hands a request that cannot be served to the door, which decides whether the caller may know so much.
func (a *API) reject(r *request, err error) error {
	if r.Route.Action == vault.ActionLogin {
		return a.vault.RefuseLogin(r.Request.Context(), r.Caller, err)
	}
	return a.vault.Reject(r.Request.Context(), r.Caller, actionOr(r.Route.Action), r.Route.Name, err)
}

// actionOr is what the door is asked about a request for nothing in particular: whether its caller may do anything here.
func actionOr(action vault.Action) vault.Action {
	if action == "" {
		return vault.ActionList
	}
	return action
}

// checkHeaders refuses what would have to change the answer and is not supported: a request for another namespace must not
// act in this one.
func checkHeaders(x *exchange.Exchange) error {
	h := x.Request.Header
	if ns := strings.Trim(h.Get(headerNamespace), "/ "); ns != "" && ns != "root" {
		if len(ns) <= core.MaxNameLen {
			x.Writer.Header().Set(headerNamespace, h.Get(headerNamespace))
		}
		return failure(http.StatusNotFound, core.NotFound, "namespace not found")
	}
	for name := range h {
		if strings.HasPrefix(name, headerInlineAuth) {
			return failure(http.StatusBadRequest, core.Invalid, "inline authentication is not supported")
		}
	}
	return nil
}

// In the spelling of net/http.
const (
	headerNamespace   = "X-Vault-Namespace"
	headerWrapTTL     = "X-Vault-Wrap-Ttl"
	headerInlineAuth  = "X-Vault-Inline-Auth"
	headerIndex       = "X-Vault-Index"
	headerLSN         = "Vault-Lsn"
	headerConsistency = "Vault-Read-Consistency" // of our own API
)
