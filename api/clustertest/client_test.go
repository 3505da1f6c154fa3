package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// answering bounds one request, as a client of the product would. It is longer than the server takes to say that it
// does not know, so that only a server that is frozen or dead is given up on.
const answering = 40 * time.Second

// client sends operations to one node's API and writes down what it is told. It is for one goroutine.
type client struct {
	id   int
	node *node
	h    *history
	http *http.Client
	rng  *rand.Rand
	tag  string // makes request ids and values unique
	seq  int
	// roams: it turns to the next node when its own takes no connection, as a client does that knows all of them.
	roams bool
}

var clientSeq atomic.Int64

func newClient(h *history, n *node, seed uint64) *client {
	id := int(clientSeq.Add(1))
	return &client{
		id: id, node: n, h: h, roams: n.c.roams, rng: rand.New(rand.NewPCG(seed, uint64(id))), tag: fmt.Sprintf("c%d", id),
		http: &http.Client{Timeout: answering, Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
	}
}

// value is one that no other write uses.
func (c *client) value() string { return fmt.Sprintf("w-%s-%d", c.tag, c.seq+1) }

// do sends one operation and adds it to the history.
func (c *client) do(name string, in input) entry { return c.doAt(name, in, "", 0) }

// doAt does so for a local read that presents the LSN at which version was written.
func (c *client) doAt(name string, in input, lsn string, version uint64) entry {
	c.seq++
	e := entry{Name: name, Client: c.id, Node: c.node.i, In: in, LSN: lsn, AtLeast: version, RequestID: fmt.Sprintf("%s-%d-%d", c.tag, c.seq, c.h.startedAt.UnixNano())}
	e.Call = c.h.now()
	r := c.send(&e)
	e.Return = c.h.now()
	e.Out, e.Detail = r.judge(in)
	if e.change() {
		e.LSN = r.lsn
	}
	c.h.add(e)
	return e
}

// reply is an answer, or none.
type reply struct {
	status int
	lsn    string
	body   struct {
		Version        uint64 `json:"version"`
		CurrentVersion uint64 `json:"current_version"`
		Value          string `json:"value"`
		Valid          bool   `json:"valid"`
		Code           string `json:"code"`
		Detail         string `json:"detail"`
	}
	err error
}

// rotating is the policy by which a manual secret can be rotated.
var rotating = map[string]any{"length": 12, "lower": true, "upper": true, "digits": true}

// send has the client's node do e, or another one if that takes no connection and c roams. e.Node says which.
func (c *client) send(e *entry) (r reply) {
	for k := range size {
		e.Node = (c.node.i + k) % size
		if r = c.sendTo(c.node.c.nodes[e.Node], e); !c.roams || !notSent(r.err) {
			break
		}
	}
	return r
}

// notSent reports whether err says that there was no connection, so that the server has seen nothing of the request.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (c *client) sendTo(n *node, e *entry) (r reply) {
	method, path, body := request(e)
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answering)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.url()+path, bytes.NewReader(text))
	if err != nil {
		return reply{err: err}
	}
	req.Header = c.header(e, body != nil)
	resp, err := c.http.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	r.status, r.lsn = resp.StatusCode, resp.Header.Get("Vault-Lsn")
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{err: err}
	}
	if len(answer) > 0 {
		r.err = json.Unmarshal(answer, &r.body)
	}
	return r
}

func request(e *entry) (method, path string, body any) {
	path = "/v1/secrets/" + e.Name
	switch e.In.Kind {
	case create:
		s := map[string]any{"name": e.Name, "kind": "manual", "value": e.In.Value, "generate_policy": rotating}
		if strings.Contains(e.Name, "/kept/") {
			s["grace_period_secs"] = 86400 // so that every version can be checked in the end
		} else {
			s["keep_versions"] = 100
		}
		return http.MethodPost, "/v1/secrets", s
	case update:
		return http.MethodPut, path, map[string]any{"value": e.In.Value}
	case rotate:
		return http.MethodPost, path + "/rotate", nil
	case remove:
		return http.MethodDelete, path, nil
	case verify:
		return http.MethodPost, path + "/verify", map[string]any{"value": e.In.Value}
	}
	return http.MethodGet, path, nil
}

func (c *client) header(e *entry, body bool) http.Header {
	h := http.Header{"X-Request-Id": {e.RequestID}}
	if body {
		h.Set("Content-Type", "application/json")
	}
	if e.change() {
		h.Set("Authorization", "Bearer "+c.node.c.token)
	}
	switch {
	case e.In.Kind == local:
		h.Set("Vault-Read-Consistency", "local")
		if e.LSN != "" {
			h.Set("Vault-Lsn", e.LSN)
		}
	case !e.change():
		h.Set("Vault-Read-Consistency", "primary")
	case e.In.Kind == create:
	case e.In.Expect > 0:
		h.Set("If-Match", `"`+strconv.FormatUint(e.In.Expect, 10)+`"`)
	case e.In.Kind != rotate:
		h.Set("If-Match", "*")
	}
	return h
}

// judge turns an answer into an outcome. An answer of 503 is what the API describes: what it does not call unknown did
// not happen.
func (r reply) judge(in input) (output, string) {
	switch {
	case notSent(r.err):
		return output{Outcome: failed}, r.err.Error()
	case r.err != nil:
		return output{Outcome: unknown}, r.err.Error()
	}
	switch r.status {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		o := output{Outcome: ok, Version: r.body.CurrentVersion, Value: r.body.Value, Valid: r.body.Valid}
		if in.Kind == read || in.Kind == local || in.Kind == verify {
			o.Version = r.body.Version
		}
		return o, ""
	case http.StatusNotFound:
		return output{Outcome: missing}, ""
	case http.StatusConflict:
		return output{Outcome: exists}, ""
	case http.StatusPreconditionFailed:
		return output{Outcome: stale}, ""
	case http.StatusServiceUnavailable:
		if strings.Contains(r.body.Detail, "unknown") {
			return output{Outcome: unknown}, r.body.Detail
		}
		return output{Outcome: failed}, r.body.Detail
	}
	return output{Outcome: odd}, fmt.Sprintf("%d %s %s", r.status, r.body.Code, r.body.Detail)
}
