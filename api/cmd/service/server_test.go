package service

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// servePlain runs a service on one plain address.
func servePlain(t *testing.T, env ...string) *Service {
	t.Helper()
	s, err := Open(context.Background(), settings(t, env...), quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		closeWithin(t, s)
	})
	return s
}

// ask sends raw bytes on a connection of its own, which stays open until the test ends.
func ask(t *testing.T, s *Service, raw string) (net.Conn, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, resp
}

// TestMalformedRequests: the process, too, answers what net/http refuses by itself with a problem that has an id.
func TestMalformedRequests(t *testing.T) {
	s := servePlain(t)
	for _, raw := range []string{"GET /v1/secrets/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /v1/secrets HTTP/1.1\r\n\r\n"} {
		_, resp := ask(t, s, raw)
		body, _ := io.ReadAll(resp.Body)
		id := resp.Header.Get("X-Request-Id")
		if resp.StatusCode != 400 || resp.Header.Get("Content-Type") != "application/problem+json" || id == "" || !strings.Contains(string(body), id) {
			t.Errorf("%q: %d %v %s", raw, resp.StatusCode, resp.Header, body)
		}
	}
}

// TestStrangersHaveTheSmallerShare: who may read, who is a trusted proxy, and how many files the process may open, are
// what the server shares its connections by.
func TestStrangersHaveTheSmallerShare(t *testing.T) {
	const files, shareOfStranger = 1024, (1024 - ownFiles) / 64
	lower(t, files)
	for name, c := range map[string]struct {
		env    string
		closed int
	}{
		"a stranger":       {"VAULT_ALLOWED_IPS=192.0.2.1", 1},
		"one who may read": {"VAULT_ALLOWED_IPS=127.0.0.1", 0},
		"a trusted proxy":  {"VAULT_TRUST_PROXY=127.0.0.1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			// Within the time that a stranger's connection may lie idle. A machine that takes longer is asked again.
			closed, took := 0, strangerIdle
			for try := 0; took >= strangerIdle && try < 10; try++ {
				closed, took = closedOf(t, servePlain(t, c.env), shareOfStranger+1) // one too many
			}
			if closed != c.closed {
				t.Errorf("%d of its connections were closed, want %d", closed, c.closed)
			}
		})
	}
}

// strangerIdle is how long the connection of a stranger may lie idle.
const strangerIdle = 5 * time.Second

// closedOf opens connections one after the other, and returns how many of them then carry no second request. The server closes one
// that is too many before it answers the next. Also returns how long that took.
func closedOf(t *testing.T, s *Service, n int) (closed int, took time.Duration) {
	t.Helper()
	const request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	started := time.Now()
	var conns []net.Conn
	for range n {
		c, resp := ask(t, s, request)
		_, _ = io.Copy(io.Discard, resp.Body)
		conns = append(conns, c)
	}
	for _, c := range conns {
		_, err := io.WriteString(c, request)
		if err == nil {
			_, err = http.ReadResponse(bufio.NewReader(c), nil)
		}
		if err != nil {
			closed++
		}
	}
	return closed, time.Since(started)
}

// lower sets the process's limit of open files until the test ends.
func lower(t *testing.T, files uint64) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if before.Cur < files {
		t.Skipf("the limit of open files is %d", before.Cur)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
}

// TestLimitsOfTheServer: how long an answer may take follows from the settings.
func TestLimitsOfTheServer(t *testing.T) {
	s, err := Open(context.Background(), settings(t), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeWithin(t, s)
	later, err := Open(context.Background(), settings(t, "VAULT_WRITE_TIMEOUT_SECS=100"), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeWithin(t, later)
	if got := later.http.WriteTimeout - s.http.WriteTimeout; got != 100*time.Second-s.cfg.WriteTimeout {
		t.Errorf("%s more for changes that may take 100 s in place of %s", got, s.cfg.WriteTimeout)
	}
}
