package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

type rewrapBody struct {
	State   vault.RewrapState `json:"state"`
	Key     string            `json:"kms_key_id,omitempty"`
	Total   int64             `json:"total"`
	Moved   int64             `json:"moved"`
	Skipped int64             `json:"skipped"`
	Failed  int64             `json:"failed"`
	Error   string            `json:"error,omitempty"`
	BegunAt *time.Time        `json:"begun_at,omitempty"`
	EndedAt *time.Time        `json:"ended_at,omitempty"`
}

func (s *server) answerRewrap(c *gin.Context, status int, r vault.RewrapStatus) {
	s.answer(c, status, rewrapBody{
		State: r.State, Key: r.Key, Total: r.Total, Moved: r.Moved, Skipped: r.Skipped, Failed: r.Failed, Error: r.Error,
		BegunAt: orNil(r.Begun), EndedAt: orNil(r.Ended),
	})
}

// startRewrap answers 202, whether it began the run or found it running. A body is not looked at.
func (s *server) startRewrap(c *gin.Context) {
	r, err := s.Vault.StartRewrap(c.Request.Context(), callerOf(c), 0)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.answerRewrap(c, http.StatusAccepted, r)
}

func (s *server) rewrapStatus(c *gin.Context) {
	r, err := s.Vault.RewrapStatus(c.Request.Context(), callerOf(c))
	if err != nil {
		s.fail(c, err)
		return
	}
	s.answerRewrap(c, http.StatusOK, r)
}
