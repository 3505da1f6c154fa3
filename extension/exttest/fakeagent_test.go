package exttest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// fakeAgent is a key agent that does what a test wants. Its keys live as long as it does.
type fakeAgent struct {
	t    testing.TB
	path string

	mu       sync.Mutex
	ln       *net.UnixListener
	conns    map[*net.UnixConn]bool
	accepted int
	keys     map[string][]byte // by wrapped form
	records  []*frame.Request  // what was asked to be recorded, unwraps included
	serve    func(c *net.UnixConn)
	served   sync.WaitGroup
}

// newFakeAgent listens in a directory of its own and answers as a key agent should.
func newFakeAgent(t testing.TB) *fakeAgent {
	t.Helper()
	a := &fakeAgent{
		t: t, path: filepath.Join(socketFolder(t), "agent.sock"),
		conns: map[*net.UnixConn]bool{}, keys: map[string][]byte{},
	}
	a.serve = a.honest
	a.listen()
	t.Cleanup(a.close)
	return a
}

// behave makes new connections served by f, which may return at any time; nil is honestly. Connections that are
// open are closed.
func (a *fakeAgent) behave(f func(c *net.UnixConn)) {
	if f == nil {
		f = a.honest
	}
	a.mu.Lock()
	a.serve = f
	a.mu.Unlock()
	a.hangUp()
}

func (a *fakeAgent) listen() {
	a.t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.path, Net: "unix"})
	if err != nil {
		a.t.Fatal(err)
	}
	a.adopt(ln)
}

// adopt accepts from ln until it is closed.
func (a *fakeAgent) adopt(ln *net.UnixListener) {
	a.t.Helper()
	if err := os.Chmod(a.path, 0o777); err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	a.ln = ln
	a.mu.Unlock()
	a.served.Go(func() {
		for {
			c, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			a.mu.Lock()
			a.conns[c] = true
			a.accepted++
			serve := a.serve
			a.mu.Unlock()
			a.served.Go(func() {
				defer a.drop(c)
				serve(c)
			})
		}
	})
}

func (a *fakeAgent) drop(c *net.UnixConn) {
	_ = c.Close()
	a.mu.Lock()
	delete(a.conns, c)
	a.mu.Unlock()
}

// hangUp closes the open connections.
func (a *fakeAgent) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		_ = c.Close()
	}
}

// stop closes listener and connections; the socket file goes too.
func (a *fakeAgent) stop() {
	a.mu.Lock()
	ln := a.ln
	a.mu.Unlock()
	_ = ln.Close()
	a.hangUp()
}

func (a *fakeAgent) close() {
	a.stop()
	a.served.Wait()
}

func (a *fakeAgent) connections() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.accepted
}

// recorded returns and forgets what was to be recorded.
func (a *fakeAgent) recorded() []*frame.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.records
	a.records = nil
	return r
}

// ask reads one request; nil at the end.
func ask(c io.Reader) *frame.Request {
	body, err := frame.ReadBody(c, nil)
	if err != nil {
		return nil
	}
	r, err := frame.ParseRequest(body)
	if err != nil {
		return nil
	}
	return r
}

// answer is what an honest agent says.
func (a *fakeAgent) answer(r *frame.Request) *frame.Response {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.Op {
	case frame.OpGenerate:
		key, wrapped := random(32), random(48)
		a.keys[string(wrapped)] = key
		return &frame.Response{Op: r.Op, Keys: [][]byte{key}, KeyID: "fake:1", Wrapped: wrapped}
	case frame.OpLease: // lends nothing: to the tests it is the read that it is
		read := *r
		read.Op, read.Action, read.LeaseSecs, read.File = frame.OpUnwrap, frame.ActionRead, 0, 0
		a.records = append(a.records, &read)
		key := a.keys[string(r.Keys[0].Wrapped)]
		if key == nil {
			return &frame.Response{Op: r.Op, Code: core.Corrupt, Msg: "no such key"}
		}
		return &frame.Response{Op: r.Op, Keys: [][]byte{key}}
	case frame.OpUnwrap:
		resp := &frame.Response{Op: r.Op}
		for _, k := range r.Keys {
			key := a.keys[string(k.Wrapped)]
			if key == nil {
				return &frame.Response{Op: r.Op, Code: core.Corrupt, Msg: "no such key"}
			}
			resp.Keys = append(resp.Keys, key)
		}
		a.records = append(a.records, r)
		return resp
	case frame.OpReadEach:
		a.records = append(a.records, r)
		return a.answerEach(r)
	case frame.OpRecord:
		a.records = append(a.records, r)
		return &frame.Response{Op: r.Op}
	}
	return &frame.Response{Code: core.Invalid, Msg: "unknown operation"}
}

// answerEach is an honest answer to a request for many keys. The caller holds the mutex.
func (a *fakeAgent) answerEach(r *frame.Request) *frame.Response {
	resp := &frame.Response{Op: r.Op}
	for _, it := range r.Items {
		result := frame.Result{Code: it.Code}
		if it.Code == "" {
			if result.Key = a.keys[string(it.Key.Wrapped)]; result.Key == nil {
				result = frame.Result{Code: core.Corrupt, Msg: "no such key"}
			}
		}
		resp.Results = append(resp.Results, result)
	}
	return resp
}

func encode(r *frame.Response) []byte {
	b, err := frame.AppendResponse(nil, r)
	if err != nil {
		panic(err)
	}
	return b
}

// honest serves a connection as an agent should.
func (a *fakeAgent) honest(c *net.UnixConn) {
	for r := ask(c); r != nil; r = ask(c) {
		if _, err := c.Write(encode(a.answer(r))); err != nil {
			return
		}
	}
}

// untilClosed waits for the other end to close.
func untilClosed(c net.Conn) {
	_, err := io.Copy(io.Discard, c)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return b
}

func randomText(n int) string { return hex.EncodeToString(random((n + 1) / 2))[:n] }
