package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const firstBody = 4 << 10

// readJSON returns the body of a request for an action, which the caller wipes on every path. Nothing is read of one
// that will be refused in any case.
func (s *server) readJSON(c *gin.Context, action vault.Action) ([]byte, error) {
	if err := checkContentType(c.Request.Header); err != nil {
		return nil, err
	}
	return s.readBody(c, action, s.maxBody)
}

// readBody reads up to limit bytes into a buffer of its own, which grows as they come: what a client announces costs
// nothing. Buffers it outgrows are wiped, since they hold a value.
func (s *server) readBody(c *gin.Context, action vault.Action, limit int64) ([]byte, error) {
	if err := s.Vault.Screen(callerOf(c), action); err != nil {
		return nil, err
	}
	return s.takeBody(c.Writer, c.Request, limit)
}

// takeBody is readBody for a client about whom enough is known.
func (s *server) takeBody(w http.ResponseWriter, req *http.Request, limit int64) ([]byte, error) {
	size := int64(firstBody)
	switch n := req.ContentLength; {
	case n > limit:
		return nil, bodyError(&http.MaxBytesError{Limit: limit})
	case n >= 0:
		size = min(size, n+1) // room to see the end without growing
	}
	r := http.MaxBytesReader(w, req.Body, limit)
	buf := make([]byte, 0, size)
	pace := newBodyPace(w, s.SlowLimit)
	for {
		pace.allow(len(buf))
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			pace.end()
			return buf, nil
		}
		if err != nil {
			envelope.Wipe(buf)
			return nil, bodyError(err)
		}
		if len(buf) == cap(buf) {
			grown := append(make([]byte, 0, 2*cap(buf)), buf...)
			envelope.Wipe(buf)
			buf = grown
		}
	}
}

// bodyPace gives a body its limit, and more as it comes: a drip earns nothing, and a slow line is not cut off.
type bodyPace struct {
	control   *http.ResponseController
	startedAt time.Time
	limit     time.Duration
}

func newBodyPace(w http.ResponseWriter, limit time.Duration) bodyPace {
	return bodyPace{http.NewResponseController(w), time.Now(), limit}
}

// allow sets the limit of what comes after n bytes. A transport without limits has none to set.
func (p bodyPace) allow(n int) {
	_ = p.control.SetReadDeadline(p.startedAt.Add(p.limit + time.Duration(n)*time.Second/slowRate))
}

// end takes the limit away. Where there is no body, net/http watches the connection already and takes the limit for its end:
// it would cancel this request, while it is worked on, and every later one of the connection.
func (p bodyPace) end() { _ = p.control.SetReadDeadline(time.Time{}) }

func bodyError(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return core.Errorf(core.TooLarge, "the body is over %d bytes", tooLarge.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &transportError{status: http.StatusRequestTimeout, code: "request_timeout",
			cause: core.Wrap(core.Invalid, err, "the body took too long to come")}
	}
	return core.Wrap(core.Invalid, err, "the body could not be read to its end")
}

func checkContentType(h http.Header) error {
	ct, enc := h.Values("Content-Type"), h.Get("Content-Encoding")
	if len(ct) == 1 && (enc == "" || enc == "identity") {
		base, params, err := mime.ParseMediaType(ct[0])
		charset, named := params["charset"]
		if err == nil && base == "application/json" && (!named || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return errMediaType()
}

func errMediaType() error {
	return &transportError{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type",
		cause: core.Errorf(core.Invalid, "the body must be application/json, unencoded")}
}
