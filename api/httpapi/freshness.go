package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	headerLSN         = "Vault-Lsn"
	headerConsistency = "Vault-Read-Consistency"
	// Vault's own names for the same.
	headerIndex        = "X-Vault-Index"
	headerInconsistent = "X-Vault-Inconsistent"
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
	if err := addIndex(h, &f); err != nil {
		return caller, err
	}
	if stateOf(c).other == nil {
		f.Here = false // our own routes have no answer to it
	}
	caller.Freshness = f
	return caller, nil
}

// addIndex reads the same demand as clients of Vault make it. They collect positions, and may send several: all must have
// been replayed.
func addIndex(h http.Header, f *vault.Freshness) error {
	for _, v := range h.Values(headerIndex) {
		p, err := core.ParsePosition(v)
		if err != nil {
			return core.Errorf(core.Invalid, "%s must be an index as a change answers it", headerIndex)
		}
		if p.Timeline > f.Position.Timeline || p.Timeline == f.Position.Timeline && p.LSN > f.Position.LSN {
			f.Position = p
		}
	}
	if f.Position != (core.Position{}) {
		switch h.Get(headerInconsistent) {
		case "forward-active-node":
			f.Primary = true
		case "fail":
			f.Here = true
		}
	}
	return nil
}

// answerChanged answers a change that returns nothing but where the log stood after it.
func answerChanged(c *gin.Context, at core.Position, err error) error {
	if err != nil {
		return err
	}
	setPosition(c, at)
	return answerNothing(c)
}

// setPosition tells the client of a change what to send with a read that must see it.
func setPosition(c *gin.Context, p core.Position) {
	if p != (core.Position{}) {
		c.Writer.Header().Set(headerLSN, p.String())
		c.Writer.Header().Set(headerIndex, p.String())
	}
}
