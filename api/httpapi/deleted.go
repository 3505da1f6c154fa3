package httpapi

import (
	"cmp"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// deletedBody is a deleted secret that can be restored.
type deletedBody struct {
	ID              core.SecretID    `json:"id"`
	Name            core.Name        `json:"name"`
	Kind            core.Kind        `json:"kind"`
	ContentType     core.ContentType `json:"content_type"`
	Description     string           `json:"description"`
	CurrentVersion  uint64           `json:"current_version"`
	CreatedAt       time.Time        `json:"created_at"`
	DeletedAt       time.Time        `json:"deleted_at"`
	RestorableUntil time.Time        `json:"restorable_until"`
}

type deletedListBody struct {
	Secrets []deletedBody `json:"secrets"`
	Next    string        `json:"next,omitempty"`
}

func (s *server) listDeleted(c *gin.Context) error {
	prefix, after, limit, err := listQuery(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionList, prefix, err)
	}
	page, err := s.Vault.ListDeleted(c.Request.Context(), caller, prefix, after, limit)
	if err != nil {
		return err
	}
	out := deletedListBody{Secrets: make([]deletedBody, len(page.Secrets)), Next: page.Next}
	for i, d := range page.Secrets {
		out.Secrets[i] = deletedBody{
			ID: d.ID, Name: d.Name, Kind: d.Kind, ContentType: d.ContentType, Description: d.Description, CurrentVersion: d.CurrentVersion,
			CreatedAt: d.CreatedAt.UTC(), DeletedAt: d.DeletedAt.UTC(), RestorableUntil: d.RestorableUntil.UTC(),
		}
	}
	return s.answer(c, http.StatusOK, out)
}

func (s *server) restore(c *gin.Context) error {
	if _, err := query(c.Request); err != nil {
		return s.reject(c, vault.ActionRestore, "", err)
	}
	made, err := s.Vault.Restore(c.Request.Context(), callerOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	c.Writer.Header().Set("Location", secretsPath+string(made.Name))
	return s.answerSecret(c, http.StatusOK, made)
}

func (s *server) destroyDeleted(c *gin.Context) error {
	if _, err := query(c.Request); err != nil {
		return s.reject(c, vault.ActionDestroy, "", err)
	}
	at, err := s.Vault.DestroyDeleted(c.Request.Context(), callerOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	setPosition(c, at)
	return answerNothing(c)
}
