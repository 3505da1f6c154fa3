package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

// bodies are the readers of one body. net/http may go on reading a body after the call has failed, so that it may be
// wiped only when no reader reads it any longer.
type bodies struct {
	mu      sync.Mutex
	retired bool
}

var errRetired = errors.New("the call is over")

// attach gives req a body that can be sent again.
func (b *bodies) attach(req *http.Request, text []byte) {
	open := func() (io.ReadCloser, error) { return &body{of: b, text: bytes.NewReader(text)}, nil }
	req.Body, _ = open()
	req.GetBody = open
	req.ContentLength = int64(len(text))
}

// wipe overwrites the body of a call that is over.
func (r *call) wipe() {
	r.bodies.mu.Lock()
	defer r.bodies.mu.Unlock()
	r.bodies.retired = true
	wipe(r.body)
}

type body struct {
	of   *bodies
	text *bytes.Reader
}

func (b *body) Read(p []byte) (int, error) {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	if b.of.retired {
		return 0, errRetired
	}
	return b.text.Read(p)
}

func (b *body) Close() error { return nil }
