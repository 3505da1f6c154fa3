package httpapi

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/docs"
)

type probeBody struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
	Causes map[string]string `json:"causes,omitempty"` // of the checks that failed
	// Conditions are names only: what is known of each is in GET /v1/status.
	Conditions []string `json:"conditions,omitempty"`
}

// health says that the process answers, and nothing else.
func (s *server) health(c *gin.Context) error {
	return s.answer(c, http.StatusOK, probeBody{Status: "ok"})
}

// ready says which part is missing and why, in the words of the answer to a request that failed for it, because every
// client may read it. The log has more. A degraded node stays behind the load balancer: no other node serves better.
func (s *server) ready(c *gin.Context) error {
	out := probeBody{Status: "ready", Checks: map[string]string{}, Causes: map[string]string{}}
	status := http.StatusOK
	for _, check := range s.Vault.Ready(c.Request.Context()) {
		out.Checks[check.Name] = "ok"
		out.Conditions = append(out.Conditions, check.Conditions...)
		if check.Err == nil {
			continue
		}
		out.Checks[check.Name] = string(core.CodeOf(check.Err))
		out.Causes[check.Name] = core.MessageOf(check.Err)
		if check.Degraded {
			out.Checks[check.Name] = "degraded"
			if status == http.StatusOK {
				out.Status = "degraded"
			}
		} else {
			out.Status, status = "unavailable", http.StatusServiceUnavailable
		}
		s.Log.WarnContext(c.Request.Context(), "not ready", "check", check.Name, "cause", check.Err.Error(),
			"request_id", callerOf(c).RequestID)
	}
	if status != http.StatusOK {
		c.Writer.Header().Set("Retry-After", "1")
	}
	return s.answer(c, status, out)
}

func (s *server) openAPI(c *gin.Context) error {
	c.Writer.Header().Set("Content-Type", "application/yaml")
	c.Writer.Header().Set("Content-Length", strconv.Itoa(len(docs.OpenAPI)))
	c.Writer.WriteHeader(http.StatusOK)
	_, _ = c.Writer.Write(docs.OpenAPI)
	return nil
}
