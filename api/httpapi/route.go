package httpapi

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	pathHealth  = "/healthz"
	pathReady   = "/readyz"
	pathMetrics = "/metrics"
	pathOpenAPI = "/v1/openapi.yaml"
)

// route is what a request is for, as far as its method and path say.
type route struct {
	template string       // as in the OpenAPI document; "" = no such path. It never holds a name
	action   vault.Action // "" = none that the door knows
	name     string       // of the secret; "" = none, or it is in the body
}

// routeOf finds the route by what gin matched.
func routeOf(c *gin.Context) route {
	if x := stateOf(c).other; x != nil {
		return route{template: x.Route.Template, action: x.Route.Action, name: x.Route.Name}
	}
	template, suffix := templateOf(c)
	method := c.Request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return route{template: template, action: actions[method+" "+template], name: strings.TrimSuffix(nameOf(c), suffix)}
}

// shownTemplate returns the template of routeOf.
func shownTemplate(c *gin.Context) string {
	if x := stateOf(c).other; x != nil {
		return x.Route.Template
	}
	template, _ := templateOf(c)
	return template
}

// templateOf returns the path of the OpenAPI document, and of it what stands after the name.
func templateOf(c *gin.Context) (template, suffix string) {
	path := c.FullPath()
	if named, ok := templates[path]; ok {
		path = named
	}
	if path == "/v1/secrets/{name}" && c.Request.Method == http.MethodPost {
		name := nameOf(c)
		for _, op := range secretOperations {
			if strings.HasSuffix(name, op) {
				return path + op, op
			}
		}
	}
	return path, ""
}

// secretOperations are the ends of paths by which POST says what to do with a secret.
var secretOperations = []string{"/rotate", "/verify", "/expire", "/delete-versions", "/undelete-versions", "/destroy-versions"}

// templates are the document's spelling of gin's.
var templates = map[string]string{
	"/v1/secrets/*name": "/v1/secrets/{name}", "/v1/metadata/*name": "/v1/metadata/{name}", "/v1/versions/*name": "/v1/versions/{name}",
	"/v1/roles/*name":      "/v1/roles/{name}",
	"/v1/tokens/:accessor": "/v1/tokens/{accessor}", "/v1/tokens/:accessor/renew": "/v1/tokens/{accessor}/renew",
	"/v1/leases/:id": "/v1/leases/{id}", "/v1/leases/:id/renew": "/v1/leases/{id}/renew", "/v1/role-templates/*name": "/v1/role-templates/{name}",
	"/v1/deleted/:id": "/v1/deleted/{id}", "/v1/deleted/:id/restore": "/v1/deleted/{id}/restore",
	"/v1/auth/:mount": "/v1/auth/{mount}", "/v1/auth/:mount/roles": "/v1/auth/{mount}/roles",
	"/v1/auth/:mount/roles/:role": "/v1/auth/{mount}/roles/{role}", "/v1/auth/:mount/roles/:role/revoke": "/v1/auth/{mount}/roles/{role}/revoke",
	"/v1/auth/:mount/roles/:role/password":             "/v1/auth/{mount}/roles/{role}/password",
	"/v1/auth/:mount/roles/:role/secret-ids":           "/v1/auth/{mount}/roles/{role}/secret-ids",
	"/v1/auth/:mount/roles/:role/secret-ids/:accessor": "/v1/auth/{mount}/roles/{role}/secret-ids/{accessor}",
}

// actions are what the handlers ask the door for.
var actions = map[string]vault.Action{
	"POST /v1/secrets":                          vault.ActionCreate,
	"GET /v1/secrets":                           vault.ActionList,
	"GET /v1/secrets/{name}":                    vault.ActionRead,
	"PUT /v1/secrets/{name}":                    vault.ActionUpdate,
	"DELETE /v1/secrets/{name}":                 vault.ActionDelete,
	"POST /v1/secrets/{name}/rotate":            vault.ActionRotate,
	"POST /v1/secrets/{name}/verify":            vault.ActionVerify,
	"POST /v1/secrets/{name}/expire":            vault.ActionExpire,
	"POST /v1/secrets/{name}/delete-versions":   vault.ActionDeleteVersion,
	"POST /v1/secrets/{name}/undelete-versions": vault.ActionUndeleteVersion,
	"POST /v1/secrets/{name}/destroy-versions":  vault.ActionDestroyVersion,
	"POST /v1/batch-read":                       vault.ActionRead,
	"GET /v1/metadata/{name}":                   vault.ActionDescribe,
	"PATCH /v1/metadata/{name}":                 vault.ActionConfigure,
	"GET /v1/versions/{name}":                   vault.ActionDescribe,
	"POST /v1/admin/rewrap":                     vault.ActionRewrap,
	"GET /v1/admin/rewrap":                      vault.ActionRewrapStatus,
	"GET /v1/deleted":                           vault.ActionList,
	"POST /v1/deleted/{id}/restore":             vault.ActionRestore,
	"DELETE /v1/deleted/{id}":                   vault.ActionDestroy,
	"GET /v1/status":                            vault.ActionStatus,
	"GET /v1/events":                            vault.ActionWatch,
	"GET /v1/audit":                             vault.ActionAudit,
	"POST /v1/tokens":                           vault.ActionTokenCreate,
	"GET /v1/tokens":                            vault.ActionTokenList,
	"GET /v1/tokens/{accessor}":                 vault.ActionTokenList,
	"DELETE /v1/tokens/{accessor}":              vault.ActionTokenRevoke,
	"POST /v1/tokens/{accessor}/renew":          vault.ActionTokenRenew,
	"POST /v1/leases":                           vault.ActionLeaseIssue,
	"GET /v1/leases":                            vault.ActionLeaseList,
	"GET /v1/leases/{id}":                       vault.ActionLeaseList,
	"DELETE /v1/leases/{id}":                    vault.ActionLeaseRevoke,
	"POST /v1/leases/{id}/renew":                vault.ActionLeaseRenew,
	"GET /v1/role-templates":                    vault.ActionTemplateList,
	"GET /v1/role-templates/{name}":             vault.ActionTemplateList,
	"PUT /v1/role-templates/{name}":             vault.ActionTemplateConfigure,
	"DELETE /v1/role-templates/{name}":          vault.ActionTemplateConfigure,
	"GET /v1/grants":                            vault.ActionAccess,
	"PUT /v1/grants":                            vault.ActionGrant,
	"DELETE /v1/grants":                         vault.ActionRevoke,
	"GET /v1/access":                            vault.ActionAccess,
	"GET /v1/roles":                             vault.ActionList,
	"GET /v1/roles/{name}":                      vault.ActionSessionList,
	"PATCH /v1/roles/{name}":                    vault.ActionConfigureRole,
	"PUT /v1/roles/{name}":                      vault.ActionBindRole,
	"DELETE /v1/roles/{name}":                   vault.ActionUnbindRole,
	"POST /v1/roles/{name}":                     vault.ActionRepairRole,

	"GET /v1/auth":                                               vault.ActionAuthList,
	"GET /v1/auth/{mount}":                                       vault.ActionAuthList,
	"PUT /v1/auth/{mount}":                                       vault.ActionAuthConfigure,
	"DELETE /v1/auth/{mount}":                                    vault.ActionAuthConfigure,
	"GET /v1/auth/{mount}/roles":                                 vault.ActionAuthList,
	"GET /v1/auth/{mount}/roles/{role}":                          vault.ActionAuthList,
	"PUT /v1/auth/{mount}/roles/{role}":                          vault.ActionAuthConfigure,
	"DELETE /v1/auth/{mount}/roles/{role}":                       vault.ActionAuthConfigure,
	"POST /v1/auth/{mount}/roles/{role}/revoke":                  vault.ActionAuthConfigure,
	"PUT /v1/auth/{mount}/roles/{role}/password":                 vault.ActionAuthConfigure,
	"GET /v1/auth/{mount}/roles/{role}/secret-ids":               vault.ActionAuthList,
	"POST /v1/auth/{mount}/roles/{role}/secret-ids":              vault.ActionAuthConfigure,
	"DELETE /v1/auth/{mount}/roles/{role}/secret-ids/{accessor}": vault.ActionAuthConfigure,
	"POST /v1/admin/token-key":                                   vault.ActionAuthConfigure,
}
