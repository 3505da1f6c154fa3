package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxAnswer  = 64 << 20
	firstPause = 100 * time.Millisecond
	// maxPause is the longest wait between two tries. A server that wants a longer one gets no further try.
	maxPause = 30 * time.Second
)

// call is one request, before it is sent.
type call struct {
	op     string // for errors
	method string
	path   string // escaped
	query  url.Values
	header http.Header
	body   []byte // JSON; nil = none
	bodies bodies // what still reads it
	// repeatable: sending it twice does no more than sending it once.
	repeatable bool
	// read: it sends the position that it must see.
	read bool
	// quiet: 503 is an answer, as of a probe.
	quiet bool
}

func get(op, path string) *call {
	return &call{op: op, method: http.MethodGet, path: path, query: url.Values{}, header: http.Header{}, repeatable: true, read: true}
}

func change(op, method, path string) *call {
	return &call{op: op, method: method, path: path, query: url.Values{}, header: http.Header{}}
}

// again marks a change that may be repeated.
func (r *call) again() *call { r.repeatable = true; return r }

func (r *call) match(m Match) *call {
	if m != "" {
		r.header.Set("If-Match", string(m))
	}
	return r
}

// json gives the call a body.
func (r *call) json(body any) *call {
	text, err := json.Marshal(body)
	if err != nil { // only our own types get here
		panic("client: " + err.Error())
	}
	r.body = text
	return r
}

// escapeName returns the path of a secret's name. Its slashes stand as they are.
func escapeName(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
		if p == "." || p == ".." { // no segment of a name, and net/http must not resolve it
			parts[i] = strings.ReplaceAll(p, ".", "%2E")
		}
	}
	return strings.Join(parts, "/")
}

// do sends a call and decodes its answer into out, unless that is nil. It wipes the body and the answer.
func (c *Client) do(ctx context.Context, r *call, out any) error {
	defer r.wipe()
	answer, err := c.tries(ctx, r)
	if err != nil {
		return err
	}
	defer wipe(answer)
	if out == nil {
		return nil
	}
	if text, ok := out.(*[]byte); ok {
		*text = bytes.Clone(answer)
		return nil
	}
	if json.Unmarshal(answer, out) != nil { // the cause may quote a value
		return &Error{Op: r.op, Code: Unexpected, Detail: "the answer is not what a HyperionDB Vault answers; check the address (VAULT_ADDR)"}
	}
	return nil
}

// tries sends a call until it has an answer, or may not be sent again.
func (c *Client) tries(ctx context.Context, r *call) ([]byte, error) {
	for try := 0; ; try++ {
		answer, err := c.once(ctx, r)
		if err == nil {
			return answer, nil
		}
		pause := pauseOf(err, try)
		if try >= c.retries || !mayRepeat(r, err) || pause > maxPause || ctx.Err() != nil {
			return nil, err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
			return nil, err
		}
		if !sleep(ctx, pause) {
			return nil, err
		}
	}
}

// mayRepeat reports whether sending r once more after err can help and does no harm.
func mayRepeat(r *call, err *Error) bool {
	switch {
	case err.Code == TooMany:
		return true // it was refused before it was read
	case err.Code == Unavailable, err.Code == Unreachable:
		return !r.quiet && (r.repeatable || neverSent(err.cause))
	}
	return false
}

// pauseOf returns what the server wants, or a time that doubles with each try. It is random, so that clients that failed
// together do not come back together.
func pauseOf(err *Error, try int) time.Duration {
	d := min(firstPause<<min(try, 10), 5*time.Second)
	d = d/2 + rand.N(d/2)
	if err.RetryAfter > 0 {
		d += err.RetryAfter
	}
	return d
}

// sleep waits, and reports whether it did to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once sends a call one time and returns the answer, which the caller wipes.
func (c *Client) once(ctx context.Context, r *call) ([]byte, *Error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, failure := c.send(limited, ctx, r)
	if failure != nil {
		return nil, failure
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := readAll(resp.Body, resp.ContentLength)
	if err != nil {
		e := unanswered(ctx, r.op, c.base, fmt.Errorf("the answer broke off: %w", err))
		e.OutcomeUnknown = !r.repeatable && !r.read
		return nil, e
	}
	if failed(resp, r) {
		defer wipe(answer)
		return nil, c.failure(r, resp, answer)
	}
	return answer, nil
}

func failed(resp *http.Response, r *call) bool {
	return resp.StatusCode/100 != 2 && (!r.quiet || resp.StatusCode != http.StatusServiceUnavailable)
}

func (c *Client) failure(r *call, resp *http.Response, answer []byte) *Error {
	e := answered(r.op, resp, answer, *c.token)
	e.OutcomeUnknown = e.Code == Unavailable && !r.repeatable
	return e
}

// send returns an answer of any status. The caller closes its body. outer is the context of the whole call.
func (c *Client) send(ctx, outer context.Context, r *call) (*http.Response, *Error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, http.NoBody)
	if err != nil {
		return nil, &Error{Op: r.op, Code: Invalid, Detail: "the request cannot be made"}
	}
	if r.body != nil {
		r.bodies.attach(req, r.body)
	}
	c.setHeaders(req, r)
	resp, err := c.http.Do(req)
	if err != nil {
		e := unanswered(outer, r.op, c.base, err)
		e.OutcomeUnknown = !r.repeatable && !neverSent(err) && e.Code == Unreachable
		return nil, e
	}
	if c.position != nil {
		c.position.advance(resp.Header.Get("Vault-Lsn"))
	}
	return resp, nil
}

func (c *Client) setHeaders(req *http.Request, r *call) {
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "hyperion-vault-client")
	if *c.token != "" {
		req.Header.Set("Authorization", "Bearer "+*c.token)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !r.read {
		return
	}
	if p := c.Position(); p != "" {
		req.Header.Set("Vault-Lsn", p)
	}
	if c.consistency != "" {
		req.Header.Set("Vault-Read-Consistency", c.consistency)
	}
}

var errTooLong = errors.New("it is longer than any answer of a vault")

// readAll reads an answer, and wipes what it outgrows. length is how much is expected, if that is known.
func readAll(r io.Reader, length int64) ([]byte, error) {
	const least, most = 4096, 1 << 20
	buf := make([]byte, 0, max(least, min(length+1, most)))
	for {
		if len(buf) == cap(buf) {
			grown := append(make([]byte, 0, 2*cap(buf)), buf...)
			wipe(buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err == nil && len(buf) > maxAnswer {
			err = errTooLong
		}
		if err != nil {
			wipe(buf)
			return nil, err
		}
	}
}

// wipe overwrites b, all of its memory.
func wipe(b []byte) { clear(b[:cap(b)]) }
