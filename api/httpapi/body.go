package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const firstBody = 4 << 10

// readJSON returns the request's body, which the caller wipes on every path.
func (s *server) readJSON(c *gin.Context) ([]byte, error) {
	if err := checkContentType(c.Request.Header); err != nil {
		return nil, err
	}
	return readBody(c, s.maxBody)
}

// readBody reads up to limit bytes into a buffer of its own. Buffers it outgrows are
// wiped, since they hold a value.
func readBody(c *gin.Context, limit int64) ([]byte, error) {
	size := int64(firstBody)
	switch n := c.Request.ContentLength; {
	case n > limit:
		return nil, bodyError(&http.MaxBytesError{Limit: limit})
	case n >= 0:
		size = n + 1 // room to see the end without growing
	}
	r := http.MaxBytesReader(c.Writer, c.Request.Body, limit)
	buf := make([]byte, 0, size)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
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

func bodyError(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return core.Errorf(core.TooLarge, "the body is over %d bytes", tooLarge.Limit)
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
	return &transportError{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type",
		cause: core.Errorf(core.Invalid, "the body must be application/json, unencoded")}
}
