package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

func (s *server) expire(c *gin.Context, name string) error {
	body, err := s.readJSON(c, vault.ActionExpire)
	defer func() { envelope.Wipe(body) }()
	var version, grace int64
	if err == nil {
		version, grace, err = decodeExpire(body)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionExpire, name, err)
	}
	v, err := s.Vault.Expire(c.Request.Context(), callerOf(c), name, uint64(version), grace)
	if err != nil {
		return err
	}
	setPosition(c, v.Position)
	return s.answer(c, http.StatusOK, versionBodyOf(v))
}

func decodeExpire(body []byte) (version, grace int64, err error) {
	o, err := parseObject(body, expireFields)
	if err != nil {
		return 0, 0, err
	}
	if version, err = o.integer("version"); err == nil && version < 1 {
		err = core.Errorf(core.Invalid, "version must be a whole number from 1")
	}
	if err != nil {
		return 0, 0, err
	}
	grace, err = o.integer("grace_secs")
	return version, grace, err
}
