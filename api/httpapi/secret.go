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

// reject hands a request that could not be decoded to the door, which decides whether the caller may know so much. It
// returns the error to answer with.
func (s *server) reject(c *gin.Context, action vault.Action, name string, err error) error {
	return s.Vault.Reject(c.Request.Context(), callerOf(c), action, name, err)
}

func (s *server) create(c *gin.Context) error {
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
		return s.reject(c, vault.ActionCreate, r.Name, err)
	}
	made, err := s.Vault.Create(c.Request.Context(), callerOf(c), r)
	if err != nil {
		return err
	}
	c.Writer.Header().Set("Location", secretsPath+string(made.Name))
	return s.answerSecret(c, http.StatusCreated, made)
}

func (s *server) answerSecret(c *gin.Context, status int, m vault.Secret) error {
	return s.answerTagged(c, status, m, etag(m.CurrentVersion))
}

func (s *server) answerMetadata(c *gin.Context, m vault.Secret) error {
	return s.answerTagged(c, http.StatusOK, m, metadataTag(m))
}

func (s *server) answerTagged(c *gin.Context, status int, m vault.Secret, tag string) error {
	c.Writer.Header().Set("ETag", tag)
	setPosition(c, m.Position)
	return s.answer(c, status, bodyOf(m))
}

func (s *server) read(c *gin.Context) error {
	name := nameOf(c)
	version, err := versionQuery(c.Request)
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, vault.ActionRead, name, err)
	}
	v, err := s.Vault.Read(c.Request.Context(), caller, name, version)
	if err != nil {
		return err
	}
	defer v.Wipe()
	return s.answerValue(c, v)
}

func (s *server) update(c *gin.Context) error {
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
		return s.reject(c, vault.ActionUpdate, name, err)
	}
	r.Name = name
	made, err := s.Vault.Update(c.Request.Context(), callerOf(c), r)
	if err != nil {
		return err
	}
	return s.answerSecret(c, http.StatusOK, made)
}

func (s *server) remove(c *gin.Context) error {
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
		return s.reject(c, vault.ActionDelete, name, err)
	}
	at, err := remove(c.Request.Context(), callerOf(c), name, m.version)
	if err != nil {
		return err
	}
	setPosition(c, at)
	return answerNothing(c)
}

// postToSecret does the operation that the last segment names. A secret may itself
// be called "a/rotate": its operations are at a/rotate/rotate and a/rotate/verify.
func (s *server) postToSecret(c *gin.Context) error {
	name := nameOf(c)
	if base, ok := strings.CutSuffix(name, "/rotate"); ok {
		defer s.extend(c)()
		return s.rotate(c, base)
	}
	if base, ok := strings.CutSuffix(name, "/verify"); ok {
		return s.verify(c, base)
	}
	if base, ok := strings.CutSuffix(name, "/expire"); ok {
		defer s.extend(c)()
		return s.expire(c, base)
	}
	for op, change := range versionChanges {
		if base, ok := strings.CutSuffix(name, op); ok {
			defer s.extend(c)()
			return s.changeVersions(c, base, change)
		}
	}
	c.Writer.Header().Set("Allow", "DELETE, GET, HEAD, PUT")
	return methodNotAllowed()
}

func (s *server) rotate(c *gin.Context, name string) error {
	m, err := expected(c.Request.Header, false)
	var r vault.RotateRequest
	if err == nil {
		r, err = s.readRotate(c)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionRotate, name, err)
	}
	r.Name, r.Expected = name, m.version
	made, err := s.Vault.Rotate(c.Request.Context(), callerOf(c), r)
	if err != nil {
		return err
	}
	return s.answerSecret(c, http.StatusOK, made)
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

func (s *server) verify(c *gin.Context, name string) error {
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
		return s.reject(c, vault.ActionVerify, name, err)
	}
	v, err := s.Vault.Verify(c.Request.Context(), caller, name, candidate)
	if err != nil {
		return err
	}
	return s.answer(c, http.StatusOK, verdictBody{Valid: v.Valid, Version: v.Version})
}
