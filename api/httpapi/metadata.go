package httpapi

import (
	"cmp"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

func (s *server) list(c *gin.Context) error {
	prefix, after, limit, err := listQuery(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionList, prefix, err)
	}
	page, err := s.Vault.List(c.Request.Context(), caller, prefix, after, limit)
	if err != nil {
		return err
	}
	out := listBody{Secrets: make([]any, len(page.Secrets)), Next: page.Next}
	for i, m := range page.Secrets {
		if m.Err != nil {
			out.Secrets[i] = failedName{Name: string(m.Name), Problem: s.problemOf(c, m.Err)}
			continue
		}
		out.Secrets[i] = bodyOf(m.Secret)
	}
	return s.answer(c, http.StatusOK, out)
}

func (s *server) describe(c *gin.Context) error {
	name := nameOf(c)
	_, err := query(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionDescribe, name, err)
	}
	m, err := s.Vault.Describe(c.Request.Context(), caller, name)
	if err != nil {
		return err
	}
	return s.answerMetadata(c, m)
}

func (s *server) versions(c *gin.Context) error {
	name := nameOf(c)
	_, err := query(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionDescribe, name, err)
	}
	list, err := s.Vault.Versions(c.Request.Context(), caller, name)
	if err != nil {
		return err
	}
	out := versionsBody{Name: name, Versions: make([]versionBody, len(list))}
	for i, v := range list {
		out.Versions[i] = versionBodyOf(v)
	}
	return s.answer(c, http.StatusOK, out)
}
