package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// maxBatchBody is more than vault.MaxBatch of the longest names take.
	maxBatchBody = 128 << 10
	// maxBatches is how many batch reads are worked on or being sent at a time; the others wait. It bounds the memory
	// they take: each may hold vault.MaxBatchBytes of plaintext until its client has taken all of it. A client has a
	// quarter of them.
	maxBatches = 16
	// batchPiece is how much of an answer is put together before it is sent: the rest waits as plaintext alone.
	batchPiece = 64 << 10
)

var batchFields = []string{"names"}

func (s *server) batchRead(c *gin.Context) error {
	caller, err := s.readerOf(c)
	var names []string
	if err == nil {
		names, err = s.readNames(c)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err != nil {
		return s.reject(c, vault.ActionRead, "", err)
	}
	ctx := c.Request.Context()
	leave, err := s.batches.take(ctx, caller.Addr)
	if err != nil {
		return s.reject(c, vault.ActionRead, "", core.Wrap(core.Unavailable, errors.Join(err, ctx.Err()), "%s", tooManyBatches(err)))
	}
	defer leave()
	results, err := s.Vault.BatchRead(ctx, caller, names)
	if err != nil {
		return err
	}
	defer results.Wipe()
	s.answerBatch(c, results)
	return nil
}

func tooManyBatches(why error) string {
	if errors.Is(why, errShare) {
		return "too many batch reads of this client at once"
	}
	return "too many batch reads at once"
}

func (s *server) readNames(c *gin.Context) ([]string, error) {
	if err := checkContentType(c.Request.Header); err != nil {
		return nil, err
	}
	body, err := s.readBody(c, vault.ActionRead, maxBatchBody)
	if err != nil {
		return nil, err
	}
	defer envelope.Wipe(body)
	return decodeNames(body)
}

// decodeNames returns 1 to vault.MaxBatch strings; whether they are names is the door's to say, one by one.
func decodeNames(body []byte) ([]string, error) {
	o, err := parseObject(body, batchFields)
	if err != nil {
		return nil, err
	}
	raw := o["names"]
	if len(raw) == 0 || raw[0] != '[' {
		return nil, core.Errorf(core.Invalid, "names must be an array of 1 to %d strings", vault.MaxBatch)
	}
	var names []string
	err = jsonscan.Elements(raw, func(element []byte) error {
		name, err := jsonscan.Unquote(element)
		if len(names) == vault.MaxBatch {
			err = core.Errorf(core.Invalid, "too many")
		}
		names = append(names, string(name))
		return err
	})
	if err != nil || len(names) == 0 {
		return nil, core.Errorf(core.Invalid, "names must be an array of 1 to %d strings", vault.MaxBatch)
	}
	return names, nil
}

// failedName is a position without a value.
type failedName struct {
	Name    string  `json:"name"`
	Problem problem `json:"problem"`
}

// answerBatch sends the results piece by piece, and wipes each piece once it is sent.
func (s *server) answerBatch(c *gin.Context, results vault.Batch) {
	p := pieces{to: c.Writer, buf: make([]byte, 0, batchPiece)}
	defer func() { p.wipe() }()
	c.Writer.Header().Set("Content-Type", "application/json")
	c.Writer.WriteHeader(http.StatusOK)
	p.add(`{"results":[`)
	for i := range results {
		r := &results[i]
		if i > 0 {
			p.add(",")
		}
		if r.Err == nil {
			p.reserve(valueRoom(&r.Value))
			p.buf = appendValue(p.buf, &r.Value)
			continue
		}
		failed, err := json.Marshal(failedName{Name: r.Name, Problem: s.problemOf(c, r.Err)})
		if err != nil {
			failed = []byte(`{"name":"","problem":{"type":"about:blank","status":500,"code":"internal"}}`)
		}
		p.add(string(failed))
	}
	p.add("]}")
	p.send()
}

// pieces gathers an answer in a buffer that is never outgrown.
type pieces struct {
	to  http.ResponseWriter
	buf []byte
}

func (p *pieces) add(text string) {
	p.reserve(len(text))
	p.buf = append(p.buf, text...)
}

// reserve makes room for n bytes: it sends what there is when they do not fit, and takes a larger buffer when they never
// would.
func (p *pieces) reserve(n int) {
	if cap(p.buf)-len(p.buf) >= n {
		return
	}
	p.send()
	if cap(p.buf) < n {
		p.buf = make([]byte, 0, n)
	}
}

// send writes what there is and wipes it. A client that went away is no concern: the rest is wiped like what it got.
func (p *pieces) send() {
	_, _ = p.to.Write(p.buf)
	p.wipe()
	p.buf = p.buf[:0]
}

func (p *pieces) wipe() { envelope.Wipe(p.buf) }
