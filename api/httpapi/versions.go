package httpapi

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// versionChange is what a door method does with versions of a secret.
type versionChange struct {
	action vault.Action
	run    func(*vault.Vault, context.Context, vault.Caller, string, []uint64) (vault.VersionsChanged, error)
}

// versionChanges are the operations behind a secret's name.
var versionChanges = map[string]versionChange{
	"/delete-versions":   {vault.ActionDeleteVersion, (*vault.Vault).DeleteVersions},
	"/undelete-versions": {vault.ActionUndeleteVersion, (*vault.Vault).UndeleteVersions},
	"/destroy-versions":  {vault.ActionDestroyVersion, (*vault.Vault).DestroyVersions},
}

type versionsChangedBody struct {
	Versions []uint64 `json:"versions"`
}

func (s *server) changeVersions(c *gin.Context, name string, change versionChange) error {
	versions, err := s.readVersions(c, change.action)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, change.action, name, err)
	}
	out, err := change.run(s.Vault, c.Request.Context(), callerOf(c), name, versions)
	if err != nil {
		return err
	}
	if out.Versions == nil {
		out.Versions = []uint64{}
	}
	setPosition(c, out.Position)
	return s.answer(c, http.StatusOK, versionsChangedBody{Versions: out.Versions})
}

// readVersions returns the versions that a body names; none for a request without a body.
func (s *server) readVersions(c *gin.Context, action vault.Action) ([]uint64, error) {
	body, err := s.readBody(c, action, s.maxBody)
	defer func() { envelope.Wipe(body) }()
	if err != nil || len(body) == 0 {
		return nil, err
	}
	if err := checkContentType(c.Request.Header); err != nil {
		return nil, err
	}
	return decodeVersions(body)
}

func decodeVersions(body []byte) (out []uint64, err error) {
	o, err := parseObject(body, []string{"versions"})
	if err != nil {
		return nil, err
	}
	raw, ok := o["versions"]
	if !ok {
		return nil, nil
	}
	if raw[0] != '[' {
		return nil, errVersions()
	}
	err = jsonscan.Elements(raw, func(element []byte) error {
		n, err := parseVersion(string(element))
		if err != nil {
			return errVersions()
		}
		if out = append(out, n); len(out) > vault.MaxVersionsPerChange {
			return core.Errorf(core.Invalid, "versions has more than %d numbers", vault.MaxVersionsPerChange)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errVersions()
	}
	return out, nil
}

func errVersions() error {
	return core.Errorf(core.Invalid, "versions must be an array of whole numbers from 1: leave it out for the current version")
}
