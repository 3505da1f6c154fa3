package vaultapi

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	root       = "/v1/"
	methodList = "LIST"
	methodScan = "SCAN"
)

// op is what a request does with its path. PUT and POST are the same, and so are LIST and GET with list=true.
type op int

const (
	opNone op = iota
	opRead
	opList
	opScan
	opUpdate
	opPatch
	opDelete
)

// methodOf is how an operation is written in the table of routes.
var methodOf = map[op]string{opRead: "GET", opList: "LIST", opScan: "SCAN", opUpdate: "PUT", opPatch: "PATCH", opDelete: "DELETE"}

func operationOf(r *http.Request) op {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if list, _ := strconv.ParseBool(queryValue(r, "list")); list {
			return opList
		}
		if scan, _ := strconv.ParseBool(queryValue(r, "scan")); scan {
			return opScan
		}
		return opRead
	case methodList:
		return opList
	case methodScan:
		return opScan
	case http.MethodPut, http.MethodPost:
		return opUpdate
	case http.MethodPatch:
		return opPatch
	case http.MethodDelete:
		return opDelete
	}
	return opNone
}

// queryValue returns a parameter of the query, "" if it is not there. Unknown parameters are ignored.
func queryValue(r *http.Request, name string) string {
	if r.URL.RawQuery == "" {
		return ""
	}
	return r.URL.Query().Get(name)
}

// operation is one thing that can be done with a path.
type operation struct {
	action vault.Action // of which the door is asked first; "" = none
	named  bool         // the rest of the path is the name of a secret
	public bool         // needs no right
	run    func(*API, *request) error
}

// endpoint is a path, or all paths with a common beginning.
type endpoint struct {
	template string
	ops      map[op]operation
}

// kvEndpoints are the paths below the mount, by their first segment.
func kvEndpoints() map[string]*endpoint {
	named := func(action vault.Action, run func(*API, *request) error) operation {
		return operation{action: action, named: true, run: run}
	}
	return map[string]*endpoint{
		"data": {template: "/v1/{kv}/data/{path}", ops: map[op]operation{
			opRead:   named(vault.ActionRead, (*API).readData),
			opUpdate: named(vault.ActionUpdate, (*API).writeData),
			opPatch:  named(vault.ActionUpdate, (*API).patchData),
			opDelete: named(vault.ActionDeleteVersion, (*API).deleteLatest),
		}},
		"delete": {template: "/v1/{kv}/delete/{path}", ops: map[op]operation{
			opUpdate: named(vault.ActionDeleteVersion, (*API).deleteVersions),
		}},
		"undelete": {template: "/v1/{kv}/undelete/{path}", ops: map[op]operation{
			opUpdate: named(vault.ActionUndeleteVersion, (*API).undeleteVersions),
		}},
		"destroy": {template: "/v1/{kv}/destroy/{path}", ops: map[op]operation{
			opUpdate: named(vault.ActionDestroyVersion, (*API).destroyVersions),
		}},
		"metadata": {template: "/v1/{kv}/metadata/{path}", ops: map[op]operation{
			opRead:   named(vault.ActionDescribe, (*API).readMetadata),
			opList:   named(vault.ActionList, (*API).list),
			opScan:   named(vault.ActionList, (*API).scan),
			opUpdate: named(vault.ActionConfigure, (*API).writeMetadata),
			opPatch:  named(vault.ActionConfigure, (*API).patchMetadata),
			opDelete: named(vault.ActionDelete, (*API).deleteMetadata),
		}},
		// Not served. A client takes 404 for an empty list.
		"detailed-metadata": {template: "/v1/{kv}/detailed-metadata/{path}"},
		"subkeys": {template: "/v1/{kv}/subkeys/{path}", ops: map[op]operation{
			opRead: named(vault.ActionRead, (*API).readSubkeys),
		}},
		"config": {template: "/v1/{kv}/config", ops: map[op]operation{
			opRead:   {action: vault.ActionList, run: (*API).readConfig},
			opUpdate: {action: vault.ActionList, run: (*API).writeConfig},
		}},
	}
}

// exactEndpoints are the paths that are not below the mount, without their final slash. Those with a rest end in /*.
func exactEndpoints() map[string]*endpoint {
	out := map[string]*endpoint{}
	add := func(path, template string, o op, x operation) {
		if out[path] == nil {
			out[path] = &endpoint{template: root + template, ops: map[op]operation{}}
		}
		out[path].ops[o] = x
	}
	open := func(path string, run func(*API, *request) error) {
		add(path, path, opRead, operation{public: true, run: run})
	}
	open("sys/health", (*API).health)
	open("sys/seal-status", (*API).sealStatus)
	open("sys/leader", (*API).leader)
	open("sys/init", (*API).initialized)
	look := func(path, template string, run func(*API, *request) error) {
		add(path, template, opRead, operation{action: vault.ActionList, run: run})
	}
	look("sys/mounts", "sys/mounts", (*API).mounts)
	look("sys/mounts/*", "sys/mounts/{mount}", (*API).oneMount)
	add("sys/internal/ui/mounts", "sys/internal/ui/mounts", opRead, operation{public: true, run: (*API).visibleMounts})
	look("sys/internal/ui/mounts/*", "sys/internal/ui/mounts/{path}", (*API).preflight)
	add("sys/auth", "sys/auth", opRead, operation{action: vault.ActionAuthList, run: (*API).authMounts})
	update := func(path string, action vault.Action, run func(*API, *request) error) {
		add(path, path, opUpdate, operation{action: action, run: run})
	}
	update("sys/capabilities-self", vault.ActionAccess, (*API).capabilities)
	const wrapping = "sys/wrapping/"
	update(wrapping+"wrap", vault.ActionWrap, (*API).wrapData)
	update(wrapping+"unwrap", vault.ActionUnwrap, (*API).unwrap)
	update(wrapping+"rewrap", vault.ActionUnwrap, (*API).rewrap)
	update(wrapping+"lookup", vault.ActionWrapLookup, (*API).lookupWrapping)
	add(wrapping+"lookup", wrapping+"lookup", opRead, operation{action: vault.ActionWrapLookup, run: (*API).lookupWrapping})
	tokenEndpoints(update, add)
	policyEndpoints(add)
	leaseEndpoints(update, add)
	return out
}

// authEndpoints are the paths below the mount of a login method, without their final slash. A name in them is *.
func authEndpoints(onlyLogins bool) map[string]*endpoint {
	const mount = "/v1/auth/{mount}/"
	out := map[string]*endpoint{
		"login": {template: mount + "login", ops: map[op]operation{
			opUpdate: {action: vault.ActionLogin, run: (*API).login},
		}},
		"login/*": {template: mount + "login/{name}", ops: map[op]operation{
			opUpdate: {action: vault.ActionLogin, run: (*API).loginPassword},
		}},
	}
	if onlyLogins {
		return out
	}
	add := func(path string, ops map[op]operation) {
		out[path] = &endpoint{template: mount + strings.Replace(path, "*", "{name}", 1), ops: ops}
	}
	shows := func(run func(*API, *request) error) operation {
		return operation{action: vault.ActionAuthList, run: run}
	}
	changes := func(run func(*API, *request) error) operation {
		return operation{action: vault.ActionAuthConfigure, run: run}
	}
	add("users", map[op]operation{opList: shows((*API).listUsers)})
	add("users/*", map[op]operation{
		opRead: shows((*API).readUser), opUpdate: changes((*API).writeUser), opDelete: changes((*API).deleteUser),
	})
	add("users/*/password", map[op]operation{opUpdate: changes((*API).writePassword)})
	add("users/*/policies", map[op]operation{opUpdate: changes((*API).writeUserPolicies)})
	add("role", map[op]operation{opList: shows((*API).listAppRoles)})
	add("role/*", map[op]operation{
		opRead: shows((*API).readAppRole), opUpdate: changes((*API).writeAppRole), opDelete: changes((*API).deleteAppRole),
	})
	add("role/*/role-id", map[op]operation{opRead: shows((*API).readRoleID)})
	add("role/*/secret-id", map[op]operation{opList: shows((*API).listSecretIDs), opUpdate: changes((*API).createSecretID)})
	add("role/*/secret-id-accessor/lookup", map[op]operation{opUpdate: shows((*API).lookupSecretID)})
	add("role/*/secret-id-accessor/destroy", map[op]operation{opUpdate: changes((*API).destroySecretID)})
	return out
}

func policyEndpoints(add func(string, string, op, operation)) {
	list := operation{action: vault.ActionAccess, run: (*API).policies}
	add("sys/policies/acl", "sys/policies/acl", opList, list)
	add("sys/policy", "sys/policy", opList, list)
	add("sys/policy", "sys/policy", opRead, list)
	for _, prefix := range []string{"sys/policies/acl/", "sys/policy/"} {
		add(prefix+"*", prefix+"{name}", opRead, operation{action: vault.ActionAccess, run: (*API).readPolicy})
		add(prefix+"*", prefix+"{name}", opUpdate, operation{action: vault.ActionGrant, run: (*API).writePolicy})
		add(prefix+"*", prefix+"{name}", opDelete, operation{action: vault.ActionRevoke, run: (*API).deletePolicy})
	}
}

func tokenEndpoints(update func(string, vault.Action, func(*API, *request) error), add func(string, string, op, operation)) {
	const token = "auth/token/"
	add(token+"lookup-self", token+"lookup-self", opRead, operation{action: vault.ActionTokenList, run: (*API).lookupSelf})
	update(token+"lookup-self", vault.ActionTokenList, (*API).lookupSelf)
	update(token+"renew-self", vault.ActionTokenRenew, (*API).renewSelf)
	update(token+"revoke-self", vault.ActionTokenRevoke, (*API).revokeSelf)
	update(token+"create", vault.ActionTokenCreate, (*API).createToken)
	update(token+"create-orphan", vault.ActionTokenCreate, (*API).createOrphan)
	update(token+"lookup", vault.ActionTokenList, (*API).lookup)
	update(token+"lookup-accessor", vault.ActionTokenList, (*API).lookupAccessor)
	update(token+"renew", vault.ActionTokenRenew, (*API).renew)
	update(token+"renew-accessor", vault.ActionTokenRenew, (*API).renewAccessor)
	update(token+"revoke", vault.ActionTokenRevoke, (*API).revoke)
	update(token+"revoke-accessor", vault.ActionTokenRevoke, (*API).revokeAccessor)
	add(token+"accessors", token+"accessors", opList, operation{action: vault.ActionTokenList, run: (*API).accessors})
}

// find returns the endpoint of a path, nil if there is none, the mount of a login method in it, and the name in it or
// what follows its fixed part.
func (a *API) find(path string) (e *endpoint, mount, rest string) {
	if e, mount, rest = a.findAuth(path); e != nil || a.onlyAuth {
		return e, mount, rest
	}
	below, ok := strings.CutPrefix(path, root)
	if !ok {
		return nil, "", ""
	}
	if inMount, ok := strings.CutPrefix(below, a.mount+"/"); ok {
		first, rest, _ := strings.Cut(inMount, "/")
		if e := a.kv[first]; e != nil && (strings.HasSuffix(e.template, "}") || rest == "") {
			return e, "", rest
		}
		return nil, "", ""
	}
	below = strings.TrimSuffix(below, "/")
	if e := a.exact[below]; e != nil {
		return e, "", ""
	}
	for _, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(below, prefix); ok {
			return a.exact[prefix+"*"], "", rest
		}
	}
	return nil, "", ""
}

// prefixes are the fixed parts of the paths that are neither below a mount nor exact.
var prefixes = []string{"sys/mounts/", "sys/internal/ui/mounts/", "sys/policies/acl/", "sys/policy/",
	credsPath, leasesPath + "renew/", leasesPath + "revoke/"}

// findAuth is find for what is below the mount of a login method.
func (a *API) findAuth(path string) (e *endpoint, mount, name string) {
	below, ok := strings.CutPrefix(path, root+"auth/")
	if !ok {
		return nil, "", ""
	}
	mount, below, _ = strings.Cut(strings.TrimSuffix(below, "/"), "/")
	if mount == "" || mount == "token" {
		return nil, "", ""
	}
	parts := strings.SplitN(below, "/", 3)
	if len(parts) > 1 {
		name, parts[1] = parts[1], "*"
	}
	if name == "" && len(parts) > 1 {
		return nil, "", ""
	}
	return a.auth[strings.Join(parts, "/")], mount, name
}

// Routes returns every route as method and template, in order: PUT stands for POST too, and LIST for GET with list=true.
func (a *API) Routes() (all []string) {
	for _, endpoints := range []map[string]*endpoint{a.exact, a.kv, a.auth} {
		for _, e := range endpoints {
			for o := range e.ops {
				all = append(all, methodOf[o]+" "+e.template)
			}
		}
	}
	slices.Sort(all)
	return all
}

// cleaned reports whether a path has no empty segments and no dots as segments, and returns the path without them, as
// clients are redirected to it.
func cleaned(u *url.URL) (to string, clean bool) {
	p := path.Clean("/" + u.Path)
	if strings.HasSuffix(u.Path, "/") && p != "/" {
		p += "/"
	}
	if p == u.Path {
		return "", true
	}
	return (&url.URL{Path: p, RawQuery: u.RawQuery}).String(), false
}
