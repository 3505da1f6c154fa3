package httpapi

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const secretsPath = "/v1/secrets/"

// nameOf returns the secret's name in the path, unchecked; "" where there is none.
func nameOf(c *gin.Context) string { return strings.TrimPrefix(c.Param("name"), "/") }

// reject hands a request that could not be decoded to the door, which decides
// whether the caller may know so much.
func (s *server) reject(c *gin.Context, action vault.Action, name string, err error) {
	s.fail(c, s.Vault.Reject(c.Request.Context(), callerOf(c), action, name, err))
}

func (s *server) create(c *gin.Context) {
	body, err := s.readJSON(c, vault.ActionCreate)
	defer func() { envelope.Wipe(body) }()
	var r vault.CreateRequest
	if err == nil {
		r, err = decodeCreate(body)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		envelope.Wipe(r.Value)
		s.reject(c, vault.ActionCreate, r.Name, err)
		return
	}
	made, err := s.Vault.Create(c.Request.Context(), callerOf(c), r)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Writer.Header().Set("Location", secretsPath+string(made.Name))
	s.answerSecret(c, http.StatusCreated, made)
}

func (s *server) answerSecret(c *gin.Context, status int, m vault.Secret) {
	s.answerTagged(c, status, m, etag(m.CurrentVersion))
}

func (s *server) answerMetadata(c *gin.Context, m vault.Secret) {
	s.answerTagged(c, http.StatusOK, m, metadataTag(m))
}

func (s *server) answerTagged(c *gin.Context, status int, m vault.Secret, tag string) {
	c.Writer.Header().Set("ETag", tag)
	setPosition(c, m.Position)
	s.answer(c, status, bodyOf(m))
}

func (s *server) read(c *gin.Context) {
	name := nameOf(c)
	version, err := versionQuery(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		s.reject(c, vault.ActionRead, name, err)
		return
	}
	v, err := s.Vault.Read(c.Request.Context(), caller, name, version)
	if err != nil {
		s.fail(c, err)
		return
	}
	defer v.Wipe()
	s.answerValue(c, v)
}

func (s *server) update(c *gin.Context) {
	name := nameOf(c)
	body, err := s.readJSON(c, vault.ActionUpdate)
	defer func() { envelope.Wipe(body) }()
	var r vault.UpdateRequest
	if err == nil {
		r, err = decodeUpdate(body)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err == nil {
		var m match
		m, err = expected(c.Request.Header, true)
		r.Expected = m.version
	}
	if err != nil {
		envelope.Wipe(r.Value)
		s.reject(c, vault.ActionUpdate, name, err)
		return
	}
	r.Name = name
	made, err := s.Vault.Update(c.Request.Context(), callerOf(c), r)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.answerSecret(c, http.StatusOK, made)
}

func (s *server) remove(c *gin.Context) {
	name := nameOf(c)
	m, err := expected(c.Request.Header, true)
	remove := s.Vault.Delete
	if err == nil {
		var q url.Values
		if q, err = query(c.Request, "destroy"); err == nil && q.Has("destroy") {
			if remove = s.Vault.Destroy; q.Get("destroy") != "true" {
				err = core.Errorf(core.Invalid, "destroy must be true")
			}
		}
	}
	if err != nil {
		s.reject(c, vault.ActionDelete, name, err)
		return
	}
	at, err := remove(c.Request.Context(), callerOf(c), name, m.version)
	if err != nil {
		s.fail(c, err)
		return
	}
	setPosition(c, at)
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
}

// postToSecret does the operation that the last segment names. A secret may itself
// be called "a/rotate": its operations are at a/rotate/rotate and a/rotate/verify.
func (s *server) postToSecret(c *gin.Context) {
	name := nameOf(c)
	if base, ok := strings.CutSuffix(name, "/rotate"); ok {
		defer s.extend(c)()
		s.rotate(c, base)
		return
	}
	if base, ok := strings.CutSuffix(name, "/verify"); ok {
		s.verify(c, base)
		return
	}
	if base, ok := strings.CutSuffix(name, "/expire"); ok {
		defer s.extend(c)()
		s.expire(c, base)
		return
	}
	for op, change := range versionChanges {
		if base, ok := strings.CutSuffix(name, op); ok {
			defer s.extend(c)()
			s.changeVersions(c, base, change)
			return
		}
	}
	c.Writer.Header().Set("Allow", "DELETE, GET, HEAD, PUT")
	s.fail(c, methodNotAllowed())
}

func (s *server) rotate(c *gin.Context, name string) {
	m, err := expected(c.Request.Header, false)
	var r vault.RotateRequest
	if err == nil {
		r, err = s.readRotate(c)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		s.reject(c, vault.ActionRotate, name, err)
		return
	}
	r.Name, r.Expected = name, m.version
	made, err := s.Vault.Rotate(c.Request.Context(), callerOf(c), r)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.answerSecret(c, http.StatusOK, made)
}

func (s *server) readRotate(c *gin.Context) (vault.RotateRequest, error) {
	body, err := s.readBody(c, vault.ActionRotate, s.maxBody)
	if err != nil || len(body) == 0 {
		return vault.RotateRequest{}, err
	}
	defer envelope.Wipe(body)
	if err := checkContentType(c.Request.Header); err != nil {
		return vault.RotateRequest{}, err
	}
	return decodeRotate(body)
}

func (s *server) verify(c *gin.Context, name string) {
	body, err := s.readJSON(c, vault.ActionVerify)
	defer func() { envelope.Wipe(body) }()
	var candidate []byte
	if err == nil {
		candidate, err = decodeVerify(body)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	caller := callerOf(c)
	if err == nil {
		caller, err = s.readerOf(c)
	}
	if err != nil {
		envelope.Wipe(candidate)
		s.reject(c, vault.ActionVerify, name, err)
		return
	}
	v, err := s.Vault.Verify(c.Request.Context(), caller, name, candidate)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.answer(c, http.StatusOK, verdictBody{Valid: v.Valid, Version: v.Version})
}
