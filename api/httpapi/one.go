package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// What has an id and an end, a lease or a token, is shown, renewed and revoked in the same way. A request that cannot be
// read is refused before the door is called, and recorded without a name: an id says nothing to a reader of the audit.

// showOne answers with what read returns of one id.
func showOne[ID, T, B any](s *server, c *gin.Context, action vault.Action, idOf func(*gin.Context) (ID, error),
	read func(context.Context, vault.Caller, ID) (T, error), bodyOf func(T) B,
) error {
	id, err := idOf(c)
	if err == nil {
		_, err = query(c.Request)
	}
	caller, ferr := s.readerOf(c)
	if err = cmp.Or(err, ferr); err != nil {
		return s.reject(c, action, "", err)
	}
	found, err := read(c.Request.Context(), caller, id)
	if err != nil {
		return err
	}
	return s.answer(c, http.StatusOK, bodyOf(found))
}

// renewOne answers with what is renewed, and where the log was then.
func renewOne[ID, T, B any](s *server, c *gin.Context, action vault.Action, idOf func(*gin.Context) (ID, error),
	renew func(context.Context, vault.Caller, ID, time.Duration) (T, error), bodyOf func(T) (B, core.Position),
) error {
	id, err := idOf(c)
	var increment time.Duration
	if err == nil {
		increment, err = s.readIncrement(c, action)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, action, "", err)
	}
	renewed, err := renew(c.Request.Context(), callerOf(c), id, increment)
	if err != nil {
		return err
	}
	body, at := bodyOf(renewed)
	setPosition(c, at)
	return s.answer(c, http.StatusOK, body)
}

// readIncrement accepts no body as well.
func (s *server) readIncrement(c *gin.Context, action vault.Action) (d time.Duration, err error) {
	if c.Request.ContentLength == 0 {
		return 0, nil
	}
	if err := checkContentType(c.Request.Header); err != nil {
		return 0, err
	}
	body, err := s.readBody(c, action, maxTokenBody)
	if err != nil || len(body) == 0 {
		return 0, err
	}
	o, err := parseObject(body, renewFields)
	if err == nil {
		err = o.period("increment_secs", &d)
	}
	return d, err
}

// revokeOne answers with nothing but where the log was then.
func revokeOne[ID any](s *server, c *gin.Context, action vault.Action, idOf func(*gin.Context) (ID, error),
	revoke func(context.Context, vault.Caller, ID) (core.Position, error),
) error {
	id, err := idOf(c)
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, action, "", err)
	}
	at, err := revoke(c.Request.Context(), callerOf(c), id)
	return answerChanged(c, at, err)
}
