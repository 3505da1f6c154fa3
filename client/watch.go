package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strings"
	"time"
)

const (
	// streamSilence is after how long without a sign of life a stream counts as dead. The server sends one every 15 s.
	streamSilence = 40 * time.Second
	maxEventLine  = 64 << 10
)

// Event is a change of a secret.
type Event struct {
	// ID is where the stream is after this event.
	ID string `json:"id"`
	// Reset: not all changes since the last event are known. Read again what you follow. Nothing else is set then but ID.
	Reset   bool      `json:"reset,omitempty"`
	Action  string    `json:"action,omitempty"`
	Name    string    `json:"name,omitempty"`
	Version int64     `json:"version,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// WatchOptions say what to follow.
type WatchOptions struct {
	// Prefix selects names as in ListOptions.
	Prefix string
	// After is the ID of the last event that is known. Empty begins now.
	After string
	// OnConnect is called whenever a stream is open, with the place where it begins. Changes from then on are followed, so
	// that what is read in it or later is not older than the stream. It may be nil.
	OnConnect func(id string)
	// OnDisconnect is called when a stream ends or cannot be opened, before the next try. It may be nil.
	OnDisconnect func(err error)
}

// Watch follows changes as they are committed, until ctx ends or the loop does. When the stream breaks, it goes on
// behind the last event, at whichever node answers. Only a failure that another try does not cure comes as an error, and
// is the last item.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watch{c: c, o: o, last: o.After, yield: yield}
		for try := 0; ; try++ {
			w.alive = false
			err := w.follow(ctx)
			if w.ended || ctx.Err() != nil {
				return
			}
			if !transient(err) {
				yield(Event{}, err)
				return
			}
			if w.alive {
				try = 0
			}
			if o.OnDisconnect != nil {
				o.OnDisconnect(err)
			}
			if !sleep(ctx, min(pauseOf(err, try), maxPause)) {
				return
			}
		}
	}
}

func transient(e *Error) bool {
	return e.Code == Unavailable || e.Code == Unreachable || e.Code == TooMany
}

type watch struct {
	c     *Client
	o     WatchOptions
	last  string
	yield func(Event, error) bool
	ended bool // the loop has ended
	alive bool // this stream has sent something
}

// follow reads one stream to its end.
func (w *watch) follow(outer context.Context) *Error {
	r := get("watch", "/v1/events")
	r.read = false
	setIf(r.query, "prefix", w.o.Prefix)
	if w.last != "" {
		r.header.Set("Last-Event-ID", w.last)
	}
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	silence := time.AfterFunc(streamSilence, cancel)
	defer silence.Stop()
	resp, failure := w.c.send(ctx, outer, r)
	if failure != nil {
		return failure
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		answer, _ := readAll(io.LimitReader(resp.Body, maxEventLine), -1)
		return w.c.failure(r, resp, answer)
	}
	err := w.read(resp.Body, func() { silence.Reset(streamSilence) })
	return &Error{Op: r.op, Code: Unreachable, Detail: "the stream of events has ended", cause: err}
}

// read takes Server-Sent Events apart until the stream or the loop ends.
func (w *watch) read(stream io.Reader, heard func()) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEventLine)
	var id, kind, data string
	for lines.Scan() {
		heard()
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if lines.Text() != "" { // a comment
				continue
			}
			if !w.dispatch(id, kind, data) {
				w.ended = true
				return nil
			}
			id, kind, data = "", "", ""
		}
	}
	return errors.Join(lines.Err(), io.EOF)
}

// dispatch handles a whole event. It reports whether the loop goes on.
func (w *watch) dispatch(id, kind, data string) bool {
	if id != "" {
		w.last = id
	}
	first := !w.alive
	w.alive = true
	if first && w.o.OnConnect != nil {
		w.o.OnConnect(w.last)
	}
	e := Event{ID: w.last}
	switch kind {
	case "reset":
		e.Reset = true
	case "change":
		if json.Unmarshal([]byte(data), &e) != nil {
			return true // of a later version of the server
		}
	default:
		return true
	}
	return w.yield(e, nil)
}
