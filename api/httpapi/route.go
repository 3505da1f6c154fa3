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
	r := route{template: c.FullPath(), name: nameOf(c)}
	method := c.Request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if base, ok := strings.CutSuffix(r.template, "/*name"); ok {
		r.template = base + "/{name}"
	}
	r.action = actions[method+" "+r.template]
	if method != http.MethodPost || r.template != "/v1/secrets/{name}" {
		return r
	}
	for suffix, action := range map[string]vault.Action{
		"/rotate": vault.ActionRotate, "/verify": vault.ActionVerify, "/expire": vault.ActionExpire,
	} {
		if base, ok := strings.CutSuffix(r.name, suffix); ok {
			return route{template: r.template + suffix, action: action, name: base}
		}
	}
	return r
}

// actions are what the handlers ask the door for.
var actions = map[string]vault.Action{
	"POST /v1/secrets":          vault.ActionCreate,
	"GET /v1/secrets":           vault.ActionList,
	"GET /v1/secrets/{name}":    vault.ActionRead,
	"PUT /v1/secrets/{name}":    vault.ActionUpdate,
	"DELETE /v1/secrets/{name}": vault.ActionDelete,
	"POST /v1/batch-read":       vault.ActionRead,
	"GET /v1/metadata/{name}":   vault.ActionDescribe,
	"PATCH /v1/metadata/{name}": vault.ActionConfigure,
	"GET /v1/versions/{name}":   vault.ActionDescribe,
	"POST /v1/admin/rewrap":     vault.ActionRewrap,
	"GET /v1/admin/rewrap":      vault.ActionRewrapStatus,
	"GET /v1/status":            vault.ActionStatus,
	"GET /v1/events":            vault.ActionWatch,
}
