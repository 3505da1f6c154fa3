package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	headerLSN         = "Vault-Lsn"
	headerConsistency = "Vault-Read-Consistency"
)

// readerOf returns the caller with the freshness that the request's headers ask of what it reads.
func (s *server) readerOf(c *gin.Context) (vault.Caller, error) {
	caller := callerOf(c)
	f := vault.Freshness{Primary: s.ReadPrimary}
	h := c.Request.Header
	if v := h.Values(headerConsistency); len(v) > 0 {
		switch {
		case len(v) == 1 && v[0] == "primary":
			f.Primary = true
		case len(v) == 1 && v[0] == "local":
			f.Primary = false
		default:
			return caller, core.Errorf(core.Invalid, "%s must be local or primary", headerConsistency)
		}
	}
	if v := h.Values(headerLSN); len(v) > 0 {
		p, err := core.ParsePosition(v[0])
		if err != nil || len(v) > 1 {
			return caller, core.Errorf(core.Invalid, "%s must be one position as a change answers it, as in 3-16/B374D848", headerLSN)
		}
		f.Position = p
	}
	caller.Freshness = f
	return caller, nil
}

// setPosition tells the client of a change what to send with a read that must see it.
func setPosition(c *gin.Context, p core.Position) {
	if p != (core.Position{}) {
		c.Writer.Header().Set(headerLSN, p.String())
	}
}
