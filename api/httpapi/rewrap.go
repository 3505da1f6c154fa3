package httpapi

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

var rewrapFields = []string{"rate"}

type rewrapBody struct {
	State      vault.RewrapState `json:"state"`
	Key        string            `json:"kms_key_id,omitempty"`
	Total      int64             `json:"total"`
	Moved      int64             `json:"moved"`
	Skipped    int64             `json:"skipped"`
	Failed     int64             `json:"failed"`
	Remaining  int64             `json:"remaining"`
	Under      []keyCount        `json:"remaining_under,omitempty"`
	LastFailed *rewrapFailure    `json:"last_failed,omitempty"`
	Error      string            `json:"error,omitempty"`
	BegunAt    *time.Time        `json:"begun_at,omitempty"`
	EndedAt    *time.Time        `json:"ended_at,omitempty"`
}

type keyCount struct {
	KeyID    string `json:"kms_key_id"`
	Versions int64  `json:"versions"`
}

type rewrapFailure struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	Error   string `json:"error"`
}

func (s *server) answerRewrap(c *gin.Context, status int, r vault.RewrapStatus) error {
	b := rewrapBody{
		State: r.State, Key: r.Key, Total: r.Total, Moved: r.Moved, Skipped: r.Skipped, Failed: r.Failed, Remaining: r.Remaining,
		Error: r.Error, BegunAt: orNil(r.StartedAt), EndedAt: orNil(r.Ended),
	}
	for _, k := range r.Under {
		b.Under = append(b.Under, keyCount(k))
	}
	if f := r.LastFailed; f.Name != "" {
		b.LastFailed = &rewrapFailure{Name: string(f.Name), Version: f.Version, Error: f.Error}
	}
	return s.answer(c, status, b)
}

// startRewrap answers 202, whether it began the run or found it running. There may be no body.
func (s *server) startRewrap(c *gin.Context) error {
	rate, err := s.rewrapRate(c)
	if err != nil {
		return s.reject(c, vault.ActionRewrap, "", err)
	}
	r, err := s.Vault.StartRewrap(c.Request.Context(), callerOf(c), rate)
	if err != nil {
		return err
	}
	return s.answerRewrap(c, http.StatusAccepted, r)
}

// rewrapRate is 0 when none is asked for.
func (s *server) rewrapRate(c *gin.Context) (int, error) {
	if c.Request.ContentLength == 0 {
		return 0, nil
	}
	body, err := s.readJSON(c, vault.ActionRewrap)
	defer func() { envelope.Wipe(body) }()
	if err != nil {
		return 0, err
	}
	o, err := parseObject(body, rewrapFields)
	if err != nil {
		return 0, err
	}
	rate, err := o.integer("rate")
	if _, asked := o["rate"]; err == nil && asked && (rate < 1 || rate > vault.MaxRewrapRate) {
		err = core.Errorf(core.Invalid, "rate must be a whole number from 1 to %d", vault.MaxRewrapRate)
	}
	return int(rate), err
}

func (s *server) rewrapStatus(c *gin.Context) error {
	r, err := s.Vault.RewrapStatus(c.Request.Context(), callerOf(c))
	if err != nil {
		return err
	}
	return s.answerRewrap(c, http.StatusOK, r)
}
