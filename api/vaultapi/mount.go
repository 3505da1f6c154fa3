package vaultapi

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// mountBody describes a mount. Clients find out by its type and its version which paths they may use.
type mountBody struct {
	Path                  string            `json:"path,omitempty"`
	Type                  string            `json:"type"`
	Options               map[string]string `json:"options"`
	Accessor              string            `json:"accessor"`
	UUID                  string            `json:"uuid"`
	Description           string            `json:"description"`
	Local                 bool              `json:"local"`
	SealWrap              bool              `json:"seal_wrap"`
	ExternalEntropyAccess bool              `json:"external_entropy_access"`
	Config                mountConfig       `json:"config"`
}

type mountConfig struct {
	DefaultLeaseTTL int  `json:"default_lease_ttl"`
	MaxLeaseTTL     int  `json:"max_lease_ttl"`
	ForceNoCache    bool `json:"force_no_cache"`
}

func (a *API) mountBody() mountBody {
	return mountBody{
		Type: "kv", Options: map[string]string{"version": "2"}, Accessor: a.accessor, UUID: a.uuid,
		Description: "secrets of HyperionDB Vault",
	}
}

// tokenMount is how the list of visible mounts shows the tokens.
func (a *API) tokenMount() mountBody {
	return mountBody{Type: "token", Options: map[string]string{}, Accessor: "auth_token_" + a.clusterID[:8], UUID: a.clusterID,
		Description: "token based credentials"}
}

// mayKnow returns a refusal unless the caller may do something with some secret.
func (a *API) mayKnow(r *request) error {
	caller, err := r.Reader()
	if err != nil {
		return a.reject(r, err)
	}
	_, err = a.vault.List(r.Request.Context(), caller, "", "", 1)
	return err
}

// preflight answers which mount a path belongs to. A client that gets no answer would take the engine for another one.
func (a *API) preflight(r *request) error {
	first, _, _ := strings.Cut(r.rest, "/")
	err := a.mayKnow(r)
	if err == nil && first == databaseMount && first != a.mount {
		r.answerData(mountBody{Path: databaseMount + "/", Type: databaseMount, Accessor: databaseMount + "_" + a.clusterID[:8], UUID: a.clusterID,
			Description: "leased roles of PostgreSQL"})
		return nil
	}
	if err == nil && first != a.mount {
		err = core.Errorf(core.Denied, "no such mount")
	}
	switch core.CodeOf(err) {
	case "":
	case core.Denied:
		return failure(http.StatusForbidden, core.Denied,
			"preflight capability check returned 403, please ensure client's policies grant access to path %q", printable(r.rest)+"/")
	default:
		return err
	}
	m := a.mountBody()
	m.Path = a.mount + "/"
	r.answerData(m)
	return nil
}

// mounts has the mounts beside the members of every answer, and once more in data.
func (a *API) mounts(r *request) error {
	if err := a.mayKnow(r); err != nil {
		return err
	}
	all := map[string]mountBody{a.mount + "/": a.mountBody()}
	return r.answerTwice(all)
}

func (a *API) oneMount(r *request) error {
	if err := a.mayKnow(r); err != nil {
		return err
	}
	if r.rest != a.mount {
		return invalid("No secret engine mount at %s/", printable(r.rest))
	}
	return r.answerTwice(a.mountBody())
}

// visibleMounts is for user interfaces, which ask before their user has logged in: then they see none.
func (a *API) visibleMounts(r *request) error {
	type visible struct {
		Auth   map[string]mountBody `json:"auth"`
		Secret map[string]mountBody `json:"secret"`
	}
	out := visible{Auth: map[string]mountBody{}, Secret: map[string]mountBody{}}
	if r.Caller.Bearer != "" {
		if err := a.mayKnow(r); err != nil {
			return err
		}
		out.Auth["token/"], out.Secret[a.mount+"/"] = a.tokenMount(), a.mountBody()
	}
	r.answerData(out)
	return nil
}

// answerTwice answers an object whose members stand at the top, as old clients read them, and in data.
func (r *request) answerTwice(data any) error {
	var top map[string]any
	for _, v := range []any{body{RequestID: r.Caller.RequestID, Data: data}, data} {
		b, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(b, &top) // into the same map: the members come together
		}
		if err != nil {
			return core.Wrap(core.Internal, err, "encode the answer")
		}
	}
	sendJSON(r.Exchange, http.StatusOK, top)
	return nil
}

// authMounts answers the login methods, and that tokens are there.
func (a *API) authMounts(r *request) error {
	methods, err := a.logins(r).Methods(r.Request.Context())
	if err != nil {
		return err
	}
	all := map[string]mountBody{"token/": a.tokenMount()}
	for _, m := range methods {
		id := idOf("auth", a.clusterID, m.Mount)
		all[m.Mount+"/"] = mountBody{
			Type: string(m.Kind), Options: map[string]string{}, Accessor: "auth_" + string(m.Kind) + "_" + id[:8], UUID: id, Description: m.Description,
		}
	}
	return r.answerTwice(all)
}
