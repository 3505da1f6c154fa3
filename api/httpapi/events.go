package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	defaultMaxStreams = 64
	defaultWatchPoll  = time.Second
	watchRest         = 50 * time.Millisecond // between two looks: any role may notify, as often as it likes
	keepAlive         = 15 * time.Second      // below what proxies take for a dead connection
	eventWriteLimit   = 10 * time.Second      // a reader that takes no more is let go
	headerLastEventID = "Last-Event-ID"
)

// Bell tells event streams that there may be something new. The zero Bell is ready; safe for concurrent use.
type Bell struct {
	mu   sync.Mutex
	next chan struct{}
}

// Ring wakes everybody who waits.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Next returns a channel that is closed when the bell rings the next time.
func (b *Bell) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

// events streams changes until the client or the server goes. A stream that can no longer poll is ended: its client
// comes back, here or at another node, and says where it was.
func (s *server) events(c *gin.Context) error {
	prefix, after, err := eventsQuery(c.Request)
	if err == nil {
		var leave func()
		if leave, err = s.streams.take(over, callerOf(c).Addr); err == nil {
			defer leave()
		} else {
			err = core.Wrap(core.Unavailable, err, "%s", s.tooManyStreams(err))
		}
	}
	if err != nil {
		return s.reject(c, vault.ActionWatch, prefix, err)
	}
	w, err := s.Vault.Watch(c.Request.Context(), callerOf(c), prefix, after)
	if err != nil {
		return err
	}
	if c.Request.Method == http.MethodHead {
		c.Writer.Header().Set("Content-Type", "text/event-stream")
		c.Writer.WriteHeader(http.StatusOK)
		return nil
	}
	st := &stream{s: s, w: w, out: c.Writer, control: http.NewResponseController(c.Writer)}
	if err := st.run(stateOf(c).unbounded); err != nil {
		s.Log.InfoContext(c.Request.Context(), "event stream ended", "cause", err.Error(), "request_id", callerOf(c).RequestID)
	}
	return nil
}

func (s *server) tooManyStreams(why error) string {
	if errors.Is(why, errShare) {
		return fmt.Sprintf("this client has %d event streams already", s.streams.share)
	}
	return fmt.Sprintf("there are %d event streams already", s.MaxStreams)
}

func eventsQuery(r *http.Request) (prefix string, after *vault.Place, err error) {
	q, err := query(r, "prefix", "after")
	if err != nil {
		return "", nil, err
	}
	id := q.Get("after")
	// A client that comes back sends the id of the last event that it got.
	if v := r.Header.Values(headerLastEventID); len(v) > 0 {
		id = v[len(v)-1]
	}
	if id == "" {
		return q.Get("prefix"), nil, nil
	}
	after, err = parseEventID(id)
	return q.Get("prefix"), after, err
}

var eventIDPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,15})$`)

func eventID(p vault.Place) string { return fmt.Sprintf("%d-%d-%d", p.Transaction, p.ID, p.At) }

func parseEventID(s string) (*vault.Place, error) {
	if m := eventIDPattern.FindStringSubmatch(s); m != nil {
		xid, xerr := strconv.ParseUint(m[1], 10, 64)
		id, ierr := strconv.ParseInt(m[2], 10, 64)
		at, aerr := strconv.ParseInt(m[3], 10, 64)
		if xerr == nil && ierr == nil && aerr == nil {
			return &vault.Place{Transaction: xid, ID: id, At: at}, nil
		}
	}
	return nil, core.Errorf(core.Invalid, "the id of the last event is not one of this server's")
}

// stream is one answer of Server-Sent Events.
type stream struct {
	s       *server
	w       *vault.Watch
	out     http.ResponseWriter
	control *http.ResponseController
}

func (st *stream) run(ctx context.Context) error {
	// The limits of an ordinary request would end it; a transport without limits has none to take away.
	_ = st.control.SetReadDeadline(time.Time{})
	h := st.out
	h.Header().Set("Content-Type", "text/event-stream")
	h.Header().Set("X-Accel-Buffering", "no")
	h.WriteHeader(http.StatusOK)
	if err := st.send("retry: 1000\n" + st.id()); err != nil {
		return err
	}
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		rung := st.s.Changed.Next() // before looking: what comes after the look rings it
		if err := st.poll(ctx); err != nil {
			return err
		}
		rested := time.After(watchRest)
		poll := time.NewTimer(st.s.WatchPoll)
		var err error
		select {
		case <-rung:
		case <-poll.C:
		case <-alive.C:
			err = st.send(": alive\n" + st.id())
		case <-st.s.Closing:
			err = errClosing
		case <-ctx.Done():
			err = ctx.Err()
		}
		poll.Stop()
		if err != nil {
			return err
		}
		<-rested
	}
}

var errClosing = core.Errorf(core.Unavailable, "the server is stopping")

type eventBody struct {
	Action  vault.Action `json:"action"`
	Name    core.Name    `json:"name"`
	Version uint64       `json:"version"`
	At      time.Time    `json:"at"`
}

// resetData says why a client has to look again at all that it follows.
const resetData = `{"detail":"not all changes after the id that was given are known here; this goes on from now"}`

// poll sends what is new.
func (st *stream) poll(ctx context.Context) error {
	for more := true; more; {
		limited, cancel := context.WithTimeout(ctx, st.s.RequestTimeout)
		news, err := st.w.Next(limited)
		cancel()
		if err != nil {
			return err
		}
		if news.Reset {
			if err := st.send(fmt.Sprintf("id: %s\nevent: reset\ndata: %s\n\n", eventID(st.w.Place()), resetData)); err != nil {
				return err
			}
		}
		more = news.More || news.Reset
		for _, c := range news.Changes {
			data, err := json.Marshal(eventBody{Action: c.Action, Name: c.Name, Version: c.Version, At: c.At.UTC()})
			if err != nil {
				return err
			}
			if err := st.send(fmt.Sprintf("id: %s\nevent: change\ndata: %s\n\n", eventID(c.Place), data)); err != nil {
				return err
			}
		}
	}
	return nil
}

// id is an event without data: clients show it to no user and remember the id.
func (st *stream) id() string { return "id: " + eventID(st.w.Place()) + "\n\n" }

func (st *stream) send(text string) error {
	_ = st.control.SetWriteDeadline(time.Now().Add(eventWriteLimit))
	if _, err := io.WriteString(st.out, text); err != nil {
		return err
	}
	return st.control.Flush()
}
