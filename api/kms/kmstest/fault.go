package kmstest

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Fault is one way to fail. The zero Fault is no fault.
type Fault struct {
	// Op limits the fault to one operation. "" is every operation.
	Op string
	// Status and Code answer with an error in AWS's form, and Message goes with them.
	Status  int
	Code    string
	Message string
	// Body answers with Status (0 = 200) and this text instead. It need not be valid.
	Body string
	// Hang never answers. It ends when the client goes away or the server stops.
	Hang bool
	// SlowBody sends the head and half of the right answer, then hangs.
	SlowBody bool
	// Reset answers with a TCP reset.
	Reset bool
	// Change modifies the members of the JSON of the right answer.
	Change func(answer map[string]any)
}

// changesAnswer reports whether there must be a right answer to spoil.
func (f Fault) changesAnswer() bool { return f.SlowBody || f.Change != nil }

// Errors of AWS, as faults.
var (
	Throttled    = Fault{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"}
	Broken       = Fault{Status: 500, Code: "KMSInternalException", Message: "internal failure"}
	BadGateway   = Fault{Status: 502, Body: "<html><body>502 Bad Gateway</body></html>"}
	KeyAway      = Fault{Status: 500, Code: "KeyUnavailableException", Message: "try again"}
	Refused      = Fault{Status: 400, Code: "AccessDeniedException", Message: "User: arn:aws:iam::123456789012:role/vault is not authorized to perform this"}
	ExpiredLogin = Fault{Status: 400, Code: "ExpiredTokenException", Message: "The security token included in the request is expired"}
	Hanging      = Fault{Hang: true}
	Trickling    = Fault{SlowBody: true}
	Resetting    = Fault{Reset: true}
	Malformed    = Fault{Body: `{"KeyId": "arn:aws`}
	Empty        = Fault{Body: `{}`}
)

// Next applies faults in order, one to each of the next requests that the fault is for.
func (s *Server) Next(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, faults...)
}

// Always applies the first fitting fault to every request, until the next Always. It also drops the faults of Next.
// Without arguments it ends all faults.
func (s *Server) Always(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always, s.next = faults, nil
}

// fault returns what a request meets; false = nothing.
func (s *Server) fault(op string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.next {
		if f.Op == "" || f.Op == op {
			s.next = append(s.next[:i:i], s.next[i+1:]...)
			return f, true
		}
	}
	for _, f := range s.always {
		if f.Op == "" || f.Op == op {
			return f, true
		}
	}
	return Fault{}, false
}

// wait returns false when the client or the server is gone before d is over; a negative d waits for that alone.
func (s *Server) wait(r *http.Request, d time.Duration) bool {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	var over <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
		return true
	case <-gone:
	case <-r.Context().Done():
	}
	return false
}

// reset closes the connection so that the peer sees a reset, not an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	inner := conn
	if t, ok := conn.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
