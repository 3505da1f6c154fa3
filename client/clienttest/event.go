package clienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

type event struct {
	Action  string    `json:"action"`
	Name    string    `json:"name"`
	Version int64     `json:"version"`
	At      time.Time `json:"at"`
}

func (s *Server) record(action string, sec *secret) {
	s.events = append(s.events, event{Action: action, Name: sec.Name, Version: sec.CurrentVersion, At: now()})
	s.ring()
}

func (s *Server) ring() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// eventID is the place behind the first n events.
func eventID(n int) string { return fmt.Sprintf("1-%d-0", n) }

// stream sends events until the client goes or the server is down.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	at, reset, outages := s.startOf(r)
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "retry: 1000\nid: %s\n\n", eventID(at))
	if reset {
		_, _ = fmt.Fprintf(w, "id: %s\nevent: reset\ndata: {}\n\n", eventID(at))
	}
	for {
		s.mu.Lock()
		fresh, changed, over := s.events[at:], s.changed, s.outages != outages
		s.mu.Unlock()
		if over {
			return
		}
		for _, e := range fresh {
			at++
			if data, err := json.Marshal(e); err == nil && selects(r.URL.Query().Get("prefix"), e.Name) {
				_, _ = fmt.Fprintf(w, "id: %s\nevent: change\ndata: %s\n\n", eventID(at), data)
			}
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-s.closed:
			return
		}
	}
}

// startOf returns how many events come before the first one that a request asks for, whether its id names no known one,
// and how many outages there were.
func (s *Server) startOf(r *http.Request) (at int, reset bool, outages int) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at = len(s.events)
	if parts := strings.Split(id, "-"); id != "" {
		n, err := strconv.Atoi(parts[min(1, len(parts)-1)])
		if reset = err != nil || n > at || parts[0] != "1"; !reset {
			at = n
		}
	}
	return at, reset, s.outages
}
