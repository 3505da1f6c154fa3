package httpapi

import (
	"net/http"
	"time"
)

const (
	// slowLimit is how long a client may neither send anything of a body that is due, nor take anything of an answer.
	slowLimit = 10 * time.Second
	// slowRate is how many bytes a second earn a body more time than slowLimit.
	slowRate = 16 << 10
	// paceBytes is how much of an answer must be taken within slowLimit, so about 6 KiB a second.
	paceBytes = 64 << 10
)

// paced gives the answers of a handler a limit that moves on with them: a client that stops taking its answer is cut off
// within slowLimit, and one that takes a large one slowly is not.
type paced struct {
	next  http.Handler
	limit time.Duration
}

// ServeHTTP implements http.Handler.
func (p paced) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.next.ServeHTTP(&pacedWriter{w, *http.NewResponseController(w), p.limit}, r)
}

type pacedWriter struct {
	http.ResponseWriter
	control http.ResponseController
	limit   time.Duration
}

// Write implements http.ResponseWriter.
func (w *pacedWriter) Write(b []byte) (n int, err error) {
	for {
		piece := b[:min(len(b), paceBytes)]
		_ = w.control.SetWriteDeadline(time.Now().Add(w.limit))
		done, err := w.ResponseWriter.Write(piece)
		n += done
		if b = b[len(piece):]; err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// Flush implements http.Flusher.
func (w *pacedWriter) Flush() {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.limit))
	_ = w.control.Flush()
}

// Unwrap is for http.ResponseController.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
