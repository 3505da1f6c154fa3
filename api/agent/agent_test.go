package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// childEnv makes this test binary a peer that connects once and prints what it is told.
const childEnv = "AGENT_TEST_CHILD_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Println(childMain(path))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func childMain(path string) string {
	c, err := net.Dial("unix", path)
	if err != nil {
		return "dial: " + err.Error()
	}
	defer c.Close()
	b, err := frame.AppendRequest(nil, recordRequest())
	if err != nil {
		return err.Error()
	}
	_, _ = c.Write(b) // a refused peer's write may fail; its answer is there all the same
	r, err := readResponse(c)
	if err != nil {
		return "read: " + err.Error()
	}
	return fmt.Sprintf("%s|%s", r.Code, r.Msg)
}

// fakeDoor answers with functions; an unset one is a nil panic, which is a failed test.
type fakeDoor struct {
	generate func(context.Context, vault.SQLCaller, vault.SQLGenerate) (vault.DataKey, error)
	unwrap   func(context.Context, vault.SQLCaller, vault.SQLUnwrap) ([][]byte, error)
	each     func(context.Context, vault.SQLCaller, []vault.SQLItem) ([]vault.SQLKey, error)
	record   func(context.Context, vault.SQLCaller, vault.SQLAttempt) error
	lease    func(context.Context, vault.SQLCaller, vault.SQLUnwrap) ([]byte, time.Duration, error)
}

func (d *fakeDoor) LeaseForSQL(ctx context.Context, c vault.SQLCaller, u vault.SQLUnwrap) ([]byte, time.Duration, error) {
	return d.lease(ctx, c, u)
}

func (d *fakeDoor) ReadEachForSQL(ctx context.Context, c vault.SQLCaller, items []vault.SQLItem) ([]vault.SQLKey, error) {
	return d.each(ctx, c, items)
}

func (d *fakeDoor) GenerateForSQL(ctx context.Context, c vault.SQLCaller, g vault.SQLGenerate) (vault.DataKey, error) {
	return d.generate(ctx, c, g)
}

func (d *fakeDoor) UnwrapForSQL(ctx context.Context, c vault.SQLCaller, u vault.SQLUnwrap) ([][]byte, error) {
	return d.unwrap(ctx, c, u)
}

func (d *fakeDoor) RecordForSQL(ctx context.Context, c vault.SQLCaller, a vault.SQLAttempt) error {
	return d.record(ctx, c, a)
}

func okDoor() *fakeDoor {
	return &fakeDoor{
		generate: func(context.Context, vault.SQLCaller, vault.SQLGenerate) (vault.DataKey, error) {
			return vault.DataKey{Plain: testKey(1), WrappedKey: vault.WrappedKey{KeyID: "local:1", Wrapped: []byte("wrapped")}}, nil
		},
		unwrap: func(_ context.Context, _ vault.SQLCaller, u vault.SQLUnwrap) (keys [][]byte, err error) {
			for i := range u.Keys {
				keys = append(keys, testKey(byte(i+1)))
			}
			return keys, nil
		},
		record: func(context.Context, vault.SQLCaller, vault.SQLAttempt) error { return nil },
	}
}

func testKey(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

var (
	testID     = core.SecretID{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
	testOrigin = frame.Origin{Database: "app", Role: "worker", SessionRole: "login", ClientAddr: "10.0.0.7", RequestID: "r-1"}
)

func generateRequest() *frame.Request {
	return &frame.Request{Op: frame.OpGenerate, Origin: testOrigin, ID: testID, Version: 7}
}

func unwrapRequest(n int) *frame.Request {
	r := &frame.Request{Op: frame.OpUnwrap, Origin: testOrigin, Action: frame.ActionVerify, Name: "db/password", ID: testID}
	for i := range n {
		r.Keys = append(r.Keys, frame.WrappedKey{Version: uint64(i + 1), KeyID: "local:1", Wrapped: []byte("wrapped-wrapped")})
	}
	return r
}

// readEachRequest is a read of two secrets, and a refusal.
func readEachRequest() *frame.Request {
	r := &frame.Request{Op: frame.OpReadEach, Origin: testOrigin}
	for i, name := range []string{"a", "b"} {
		r.Items = append(r.Items, frame.Item{Name: name, ID: testID, Key: frame.WrappedKey{
			Version: uint64(i + 1), KeyID: "local:1", Wrapped: []byte("wrapped-wrapped"),
		}})
	}
	r.Items = append(r.Items, frame.Item{Name: "c", Code: core.Denied})
	return r
}

func recordRequest() *frame.Request {
	return &frame.Request{Op: frame.OpRecord, Origin: testOrigin, Action: "read", Name: "db/password", Outcome: frame.OutcomeDenied, Code: core.Denied}
}

// logBuffer collects log lines from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func me() string { return strconv.Itoa(os.Getuid()) }

// shortDir is a folder every user may enter, with a path short enough for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "hv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func start(t testing.TB, c Config) (*Server, *logBuffer) {
	t.Helper()
	logs := &logBuffer{}
	if c.Socket == "" {
		c.Socket = filepath.Join(shortDir(t), "a.sock")
	}
	if c.Peers == nil {
		c.Peers = []string{me()}
	}
	c.Log = slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, logs
}

func dial(t testing.TB, s *Server) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func readResponse(r io.Reader) (*frame.Response, error) {
	body, err := frame.ReadBody(r, nil)
	if err != nil {
		return nil, err
	}
	return frame.ParseResponse(body)
}

func send(t testing.TB, c io.Writer, r *frame.Request) {
	t.Helper()
	b, err := frame.AppendRequest(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, c io.Reader) *frame.Response {
	t.Helper()
	r, err := readResponse(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ask(t testing.TB, c io.ReadWriter, r *frame.Request) *frame.Response {
	t.Helper()
	send(t, c, r)
	return receive(t, c)
}

// wantClosed reads until the server has closed.
func wantClosed(t testing.TB, c net.Conn) {
	t.Helper()
	n, err := io.Copy(io.Discard, c)
	if n != 0 || (err != nil && !errors.Is(err, syscall.ECONNRESET)) {
		t.Fatalf("want the end, got %d bytes and %v", n, err)
	}
}

func TestServe(t *testing.T) {
	var caller vault.SQLCaller
	var gen vault.SQLGenerate
	var unw vault.SQLUnwrap
	var att vault.SQLAttempt
	door, ok := okDoor(), okDoor()
	door.generate = func(ctx context.Context, c vault.SQLCaller, g vault.SQLGenerate) (vault.DataKey, error) {
		caller, gen = c, g
		return ok.generate(ctx, c, g)
	}
	door.unwrap = func(ctx context.Context, c vault.SQLCaller, u vault.SQLUnwrap) ([][]byte, error) {
		unw = u
		unw.Keys = nil
		for _, k := range u.Keys { // their bytes are the frame's, which is wiped
			k.Wrapped = bytes.Clone(k.Wrapped)
			unw.Keys = append(unw.Keys, k)
		}
		return ok.unwrap(ctx, c, u)
	}
	door.record = func(_ context.Context, _ vault.SQLCaller, a vault.SQLAttempt) error { att = a; return nil }
	s, _ := start(t, Config{Door: door})
	c := dial(t, s)
	for range 2 { // one connection serves many requests
		r := ask(t, c, generateRequest())
		if r.Code != "" || r.Op != frame.OpGenerate || len(r.Keys) != 1 || !bytes.Equal(r.Keys[0], testKey(1)) ||
			r.KeyID != "local:1" || string(r.Wrapped) != "wrapped" {
			t.Fatalf("generate: %+v", r)
		}
		want := vault.SQLCaller{Database: "app", Role: "worker", SessionRole: "login", ClientAddr: "10.0.0.7", RequestID: "r-1"}
		if caller != want || gen != (vault.SQLGenerate{ID: testID, Version: 7}) {
			t.Fatalf("the door saw %+v %+v", caller, gen)
		}
		r = ask(t, c, unwrapRequest(64))
		if r.Code != "" || len(r.Keys) != 64 || !bytes.Equal(r.Keys[63], testKey(64)) {
			t.Fatalf("unwrap: %s %s, %d keys", r.Code, r.Msg, len(r.Keys))
		}
		if unw.Action != vault.ActionVerify || unw.Name != "db/password" || unw.ID != testID || len(unw.Keys) != 64 ||
			unw.Keys[63].Version != 64 || unw.Keys[63].KeyID != "local:1" || string(unw.Keys[63].Wrapped) != "wrapped-wrapped" {
			t.Fatalf("the door saw %+v", unw)
		}
		if r = ask(t, c, recordRequest()); r.Code != "" || r.Op != frame.OpRecord {
			t.Fatalf("record: %+v", r)
		}
		if att != (vault.SQLAttempt{Action: "read", Name: "db/password", Outcome: "denied", Code: core.Denied}) {
			t.Fatalf("the door saw %+v", att)
		}
	}
}

func TestServeFailures(t *testing.T) {
	door := okDoor()
	s, logs := start(t, Config{Door: door, RequestTimeout: 50 * time.Millisecond})
	c := dial(t, s)
	var err error
	var keys [][]byte
	door.unwrap = func(context.Context, vault.SQLCaller, vault.SQLUnwrap) ([][]byte, error) { return keys, err }
	for _, tt := range []struct {
		name string
		err  error
		code core.Code
		msg  string
	}{
		{"ErrDatabase", core.Errorf(core.Denied, `this key agent serves database "app", not "other"`), core.Denied, `this key agent serves database "app", not "other"`},
		{"ErrCause", core.Wrap(core.Unavailable, errors.New("dial 10.1.2.3"), "the primary is away"), core.Unavailable, "the primary is away"},
		{"ErrUnknown", errors.New("something odd"), core.Internal, "internal error"},
		{"ErrLongText", core.Errorf(core.Invalid, "%s\xff\x00é", strings.Repeat("x", 1021)), core.Invalid, strings.Repeat("x", 1021) + "é"},
		{"ErrCutInsideRune", core.Errorf(core.Invalid, "%sé", strings.Repeat("x", 1023)), core.Invalid, strings.Repeat("x", 1023)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err = tt.err
			if r := ask(t, c, unwrapRequest(1)); r.Code != tt.code || r.Msg != tt.msg || r.Op != frame.OpUnwrap || len(r.Keys) != 0 {
				t.Fatalf("got %s %q", r.Code, r.Msg)
			}
		})
	}
	t.Run("ErrTimeout", func(t *testing.T) {
		door.record = func(ctx context.Context, _ vault.SQLCaller, _ vault.SQLAttempt) error { <-ctx.Done(); return ctx.Err() }
		if r := ask(t, c, recordRequest()); r.Code != core.Unavailable {
			t.Fatalf("got %s %q", r.Code, r.Msg)
		}
	})
	t.Run("ErrWrongKeyLength", func(t *testing.T) {
		err, keys = nil, [][]byte{testKey(1)[:16]}
		if r := ask(t, c, unwrapRequest(1)); r.Code != core.Internal || len(r.Keys) != 0 {
			t.Fatalf("got %+v", r)
		}
		if !bytes.Equal(keys[0], make([]byte, 16)) {
			t.Fatal("the key that could not be sent was not wiped")
		}
	})
	if l := logs.String(); !strings.Contains(l, "dial 10.1.2.3") || strings.Contains(l, "db/password") || strings.Contains(l, "wrapped") {
		t.Errorf("log: %s", l)
	}
}

func TestServePanic(t *testing.T) {
	door := okDoor()
	door.generate = func(context.Context, vault.SQLCaller, vault.SQLGenerate) (vault.DataKey, error) { panic("CANARY") }
	s, logs := start(t, Config{Door: door})
	c := dial(t, s)
	if r := ask(t, c, generateRequest()); r.Code != core.Internal || r.Msg != "internal error" {
		t.Fatalf("got %s %q", r.Code, r.Msg)
	}
	if r := ask(t, c, recordRequest()); r.Code != "" {
		t.Fatalf("after the panic: %s %q", r.Code, r.Msg)
	}
	if l := logs.String(); !strings.Contains(l, "panicked") || strings.Contains(l, "CANARY") || !strings.Contains(l, "agent.TestServePanic.func") {
		t.Errorf("log: %s", l)
	}
}

func TestServeWipes(t *testing.T) {
	var plain, wrapped [][]byte
	door := okDoor()
	door.generate = func(context.Context, vault.SQLCaller, vault.SQLGenerate) (vault.DataKey, error) {
		k := testKey(9)
		plain = append(plain, k)
		return vault.DataKey{Plain: k, WrappedKey: vault.WrappedKey{KeyID: "local:1", Wrapped: []byte("w")}}, nil
	}
	door.unwrap = func(_ context.Context, _ vault.SQLCaller, u vault.SQLUnwrap) (keys [][]byte, _ error) {
		for _, k := range u.Keys {
			wrapped = append(wrapped, k.Wrapped)
			keys = append(keys, testKey(8))
		}
		plain = append(plain, keys...)
		return keys, nil
	}
	s, _ := start(t, Config{Door: door})
	c := dial(t, s)
	ask(t, c, generateRequest())
	ask(t, c, unwrapRequest(3))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, c) // the server is done with this connection
	if len(plain) != 4 || len(wrapped) != 3 {
		t.Fatalf("%d keys, %d wrapped", len(plain), len(wrapped))
	}
	for _, b := range append(plain, wrapped...) {
		if !bytes.Equal(b, make([]byte, len(b))) {
			t.Fatalf("%q was not wiped", b)
		}
	}
}

func TestServeReadEach(t *testing.T) {
	plain := testKey(7)
	var asked []vault.SQLItem
	door := okDoor()
	door.each = func(_ context.Context, _ vault.SQLCaller, items []vault.SQLItem) ([]vault.SQLKey, error) {
		asked = items
		return []vault.SQLKey{
			{Plain: plain},
			{Err: core.Errorf(core.Corrupt, "%s", strings.Repeat("ä", frame.MaxItemMsgLen))},
			{Err: core.Errorf(items[2].Code, "")},
		}, nil
	}
	s, _ := start(t, Config{Door: door})
	c := dial(t, s)
	r := ask(t, c, readEachRequest())
	if r.Code != "" || len(r.Results) != 3 || !bytes.Equal(r.Results[0].Key, testKey(7)) || r.Results[1].Code != core.Corrupt ||
		len(r.Results[1].Msg) != frame.MaxItemMsgLen || r.Results[2].Code != core.Denied {
		t.Errorf("%+v", r)
	}
	if len(asked) != 3 || asked[1].Name != "b" || asked[1].ID != testID || asked[1].Key.Version != 2 ||
		asked[1].Key.KeyID != "local:1" || asked[2].Name != "c" || asked[2].Code != core.Denied {
		t.Errorf("the door saw %+v", asked)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, c)
	if !bytes.Equal(plain, make([]byte, len(plain))) {
		t.Error("the key was not wiped")
	}
}

// keepingConn keeps the slices it is given to write, as nobody else may.
type keepingConn struct {
	net.Conn
	kept [][]byte
	sum  []byte
	err  error
}

func (k *keepingConn) SetWriteDeadline(time.Time) error { return nil }

func (k *keepingConn) Write(b []byte) (int, error) {
	k.kept = append(k.kept, b[:cap(b)])
	k.sum = append(k.sum, b...)
	return len(b), k.err
}

func TestSendWipesItsBuffer(t *testing.T) {
	for _, err := range []error{nil, syscall.EPIPE} {
		k := &keepingConn{err: err}
		c := &conn{s: &Server{c: Config{Log: slog.New(slog.DiscardHandler)}}, net: k}
		keys := [][]byte{testKey(7), testKey(6)}
		if got := c.send(&frame.Response{Op: frame.OpUnwrap, Keys: keys}); !errors.Is(got, err) {
			t.Fatal(got)
		}
		if len(k.kept) != 1 || !bytes.Contains(k.sum, testKey(7)) {
			t.Fatal("the keys were not written in one piece")
		}
		for _, b := range append(k.kept, keys...) {
			if !bytes.Equal(b, make([]byte, len(b))) {
				t.Fatal("key bytes are left")
			}
		}
	}
}

func TestServeBadFrames(t *testing.T) {
	valid, err := frame.AppendRequest(nil, recordRequest())
	if err != nil {
		t.Fatal(err)
	}
	trailing := append(bytes.Clone(valid), 0)
	trailing[3]++
	for _, tt := range []struct {
		name string
		in   []byte
		code core.Code
	}{
		{"ErrHTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), core.TooLarge},
		{"ErrOversized", []byte{0x00, 0x10, 0x00, 0x01}, core.TooLarge},
		{"ErrHuge", []byte{0xff, 0xff, 0xff, 0xff, 1}, core.TooLarge},
		{"ErrEmpty", []byte{0, 0, 0, 0}, core.Invalid},
		{"ErrOneByte", []byte{0, 0, 0, 1, 1}, core.Invalid},
		{"ErrVersion", []byte{0, 0, 0, 2, 9, 1}, core.Invalid},
		{"ErrOp", []byte{0, 0, 0, 2, 1, 9}, core.Invalid},
		{"ErrTrailing", trailing, core.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := start(t, Config{Door: okDoor()})
			c := dial(t, s)
			if _, err := c.Write(tt.in); err != nil {
				t.Fatal(err)
			}
			if r := receive(t, c); r.Code != tt.code || r.Op != 0 || r.Msg == "" {
				t.Fatalf("got %s %q", r.Code, r.Msg)
			}
			wantClosed(t, c)
			if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
				t.Fatalf("the next connection: %s %q", r.Code, r.Msg)
			}
		})
	}
	t.Run("ErrEveryCut", func(t *testing.T) {
		s, logs := start(t, Config{Door: &fakeDoor{}})
		for n := 1; n < len(valid); n++ {
			c := dial(t, s)
			if _, err := c.Write(valid[:n]); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if r := receive(t, c); r.Code != core.Invalid || !strings.Contains(r.Msg, "cut off") {
				t.Fatalf("cut at %d: %s %q", n, r.Code, r.Msg)
			}
			wantClosed(t, c)
			_ = c.Close()
		}
		if strings.Contains(logs.String(), "level=WARN") {
			t.Errorf("a backend that died is worth no warning: %s", logs)
		}
	})
}

func TestServeHalfClosed(t *testing.T) {
	s, _ := start(t, Config{Door: okDoor()})
	c := dial(t, s)
	send(t, c, generateRequest())
	send(t, c, recordRequest())
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, c); r.Op != frame.OpGenerate || r.Code != "" {
		t.Fatalf("got %+v", r)
	}
	if r := receive(t, c); r.Op != frame.OpRecord || r.Code != "" {
		t.Fatalf("got %+v", r)
	}
	wantClosed(t, c)
}

// TestServeSlowPeer: a frame once begun must end in time; between frames there is no limit. The slow connections are
// the clock for the idle one.
func TestServeSlowPeer(t *testing.T) {
	const limit = 100 * time.Millisecond
	s, _ := start(t, Config{Door: okDoor(), FrameTimeout: limit})
	idle := dial(t, s)
	ask(t, idle, recordRequest())
	valid, err := frame.AppendRequest(nil, recordRequest())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 4, len(valid) - 1} {
		c := dial(t, s)
		began := time.Now()
		if _, err := c.Write(valid[:n]); err != nil {
			t.Fatal(err)
		}
		r := receive(t, c)
		if r.Code != core.Invalid || !strings.Contains(r.Msg, "did not arrive within 100ms") {
			t.Fatalf("after %d bytes: %s %q", n, r.Code, r.Msg)
		}
		if d := time.Since(began); d < limit || d > 5*time.Second {
			t.Errorf("after %d bytes it took %s", n, d)
		}
		wantClosed(t, c)
	}
	t.Run("OKIdle", func(t *testing.T) {
		if r := ask(t, idle, recordRequest()); r.Code != "" {
			t.Fatalf("idle connection: %s %q", r.Code, r.Msg)
		}
	})
	t.Run("OKBytewise", func(t *testing.T) {
		for i := range valid {
			if _, err := idle.Write(valid[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if r := receive(t, idle); r.Code != "" {
			t.Fatalf("got %s %q", r.Code, r.Msg)
		}
	})
}

// TestServePeerThatDoesNotRead fills the socket until the server's write times out and the connection ends.
func TestServePeerThatDoesNotRead(t *testing.T) {
	s, _ := start(t, Config{Door: okDoor(), FrameTimeout: 50 * time.Millisecond})
	c := dial(t, s)
	b, err := frame.AppendRequest(nil, unwrapRequest(64))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = c.Write(b)
	}
	if !isReset(err) {
		t.Fatalf("want a broken pipe, got %v", err)
	}
	if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
		t.Fatalf("others: %s %q", r.Code, r.Msg)
	}
}

func TestServeManyConnections(t *testing.T) {
	const n = 1000
	s, _ := start(t, Config{Door: okDoor(), MaxConns: n})
	conns := make([]*net.UnixConn, n)
	for i := range conns {
		conns[i] = dial(t, s)
	}
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			for range 3 {
				b, _ := frame.AppendRequest(nil, unwrapRequest(2))
				if _, err := c.Write(b); err != nil {
					t.Error(err)
					return
				}
				if r, err := readResponse(c); err != nil || r.Code != "" || len(r.Keys) != 2 {
					t.Errorf("%+v %v", r, err)
					return
				}
			}
		})
	}
	wg.Wait()
	extra := dial(t, s)
	if r := receive(t, extra); r.Code != core.Unavailable || !strings.Contains(r.Msg, "1000 connections") {
		t.Fatalf("one too many: %s %q", r.Code, r.Msg)
	}
	wantClosed(t, extra)
	if err := conns[0].CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, conns[0])
	// The place is free once the server has forgotten the connection, which may be a moment after the peer saw its end.
	for deadline := time.Now().Add(10 * time.Second); ; {
		c := dial(t, s)
		b, _ := frame.AppendRequest(nil, recordRequest())
		_, _ = c.Write(b)
		r := receive(t, c)
		if r.Code == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the freed place is not given again: %s", r.Msg)
		}
	}
}

func TestCloseFinishesWhatIsInFlight(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	door := okDoor()
	door.record = func(context.Context, vault.SQLCaller, vault.SQLAttempt) error {
		close(entered)
		<-release
		return nil
	}
	s, _ := start(t, Config{Door: door})
	busy, idle := dial(t, s), dial(t, s)
	ask(t, idle, generateRequest())
	send(t, busy, recordRequest())
	send(t, busy, generateRequest()) // not begun: not answered
	<-entered
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	wantClosed(t, idle)
	select {
	case err := <-closed:
		t.Fatalf("closed while a request was under way: %v", err)
	default:
	}
	close(release)
	if r := receive(t, busy); r.Op != frame.OpRecord || r.Code != "" {
		t.Fatalf("got %+v", r)
	}
	wantClosed(t, busy)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	select {
	case err := <-s.Err():
		t.Errorf("Close is not a failure: %v", err)
	default:
	}
}

func TestCloseGivesUp(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	door := okDoor()
	door.record = func(ctx context.Context, _ vault.SQLCaller, _ vault.SQLAttempt) error {
		close(entered)
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}
	s, err := Start(Config{Door: door, Socket: filepath.Join(shortDir(t), "a.sock"), Peers: []string{me()}, RequestTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, s)
	send(t, c, recordRequest())
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	<-left
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestStartSocketFile(t *testing.T) {
	path := func(t *testing.T) string { return filepath.Join(shortDir(t), "a.sock") }
	try := func(t *testing.T, p string, code core.Code, text string) {
		t.Helper()
		s, err := Start(Config{Door: okDoor(), Socket: p, Peers: []string{me()}})
		if err == nil {
			_ = s.Close(context.Background())
		}
		if core.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
			t.Fatalf("got %v, want %s %q", err, code, text)
		}
	}
	t.Run("OKMode", func(t *testing.T) {
		defer syscall.Umask(syscall.Umask(0o077))
		s, _ := start(t, Config{Door: okDoor(), Socket: filepath.Join(shortDir(t), "sub", "a.sock")})
		info, err := os.Lstat(s.Socket())
		if err != nil || info.Mode().Perm() != 0o660 || info.Mode()&os.ModeSocket == 0 {
			t.Errorf("socket: %v %v", info.Mode(), err)
		}
		if info, err = os.Stat(filepath.Dir(s.Socket())); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("folder: %v %v", info.Mode(), err)
		}
	})
	t.Run("OKStale", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor(), Socket: stale(t)})
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	t.Run("ErrLive", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor()})
		try(t, s.Socket(), core.Exists, "another process answers on")
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal("the first agent suffered: " + r.Msg)
		}
	})
	t.Run("ErrNoSocket", func(t *testing.T) {
		p := path(t)
		if err := os.WriteFile(p, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		try(t, p, core.Invalid, "is not a socket")
		if b, _ := os.ReadFile(p); string(b) != "precious" {
			t.Error("the file is gone")
		}
	})
	t.Run("ErrSymlink", func(t *testing.T) {
		p := path(t)
		if err := os.Symlink("/etc/passwd", p); err != nil {
			t.Fatal(err)
		}
		try(t, p, core.Invalid, "is not a socket")
	})
	t.Run("ErrDirectoryMissing", func(t *testing.T) {
		try(t, filepath.Join(shortDir(t), "no", "such", "a.sock"), core.Invalid, "cannot create the directory")
	})
	t.Run("ErrDirectoryOpen", func(t *testing.T) {
		for _, mode := range []os.FileMode{0o777, 0o777 | os.ModeSticky} {
			p := path(t)
			if err := os.Chmod(filepath.Dir(p), mode); err != nil {
				t.Fatal(err)
			}
			try(t, p, core.Invalid, "every user can write to")
		}
	})
	t.Run("OKCloseLeavesAnothersFile", func(t *testing.T) {
		p := path(t)
		s, err := Start(Config{Door: okDoor(), Socket: p, Peers: []string{me()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
		other, _ := start(t, Config{Door: okDoor(), Socket: p})
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if r := ask(t, dial(t, other), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	// Without the lock of the folder, one who starts may remove what another has just made.
	t.Run("ErrDirectoryLocked", func(t *testing.T) {
		p := stale(t)
		unlock, err := lockDir(filepath.Dir(p))
		if err != nil {
			t.Fatal(err)
		}
		try(t, p, core.Unavailable, "holds the lock of the directory")
		if _, err := os.Lstat(p); err != nil {
			t.Errorf("the file was touched: %v", err)
		}
		unlock()
		s, _ := start(t, Config{Door: okDoor(), Socket: p})
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	t.Run("OKManyStartAtOnce", func(t *testing.T) {
		for range 10 {
			startMany(t, stale(t))
		}
	})
}

// stale leaves a socket file on which nobody answers.
func stale(t *testing.T) string {
	t.Helper()
	p := filepath.Join(shortDir(t), "a.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	return p
}

func startMany(t *testing.T, p string) {
	t.Helper()
	const n = 8
	got := make(chan error, n)
	servers := make(chan *Server, n)
	begin := make(chan struct{})
	for range n {
		go func() {
			<-begin
			s, err := Start(Config{Door: okDoor(), Socket: p, Peers: []string{me()}})
			if err == nil {
				servers <- s
			}
			got <- err
		}()
	}
	close(begin)
	for range n {
		if err := <-got; err != nil && core.CodeOf(err) != core.Exists {
			t.Error(err)
		}
	}
	close(servers)
	started := 0
	for s := range servers {
		started++
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if started != 1 {
		t.Fatalf("%d agents on one socket", started)
	}
}

func TestStartPeers(t *testing.T) {
	t.Run("ErrUnknownUsers", func(t *testing.T) {
		_, err := Start(Config{Door: okDoor(), Socket: filepath.Join(shortDir(t), "a.sock"), Peers: []string{"no-such-user-1", me(), "no-such-user-2"}})
		if core.CodeOf(err) != core.Invalid || !strings.Contains(err.Error(), "no-such-user-1") || !strings.Contains(err.Error(), "no-such-user-2") {
			t.Fatal(err)
		}
	})
	t.Run("ErrNobody", func(t *testing.T) {
		if _, err := Start(Config{Door: okDoor(), Socket: filepath.Join(shortDir(t), "a.sock")}); core.CodeOf(err) != core.Invalid {
			t.Fatal(err)
		}
	})
	t.Run("OKByName", func(t *testing.T) {
		u, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := start(t, Config{Door: okDoor(), Peers: []string{u.Username}})
		if r := ask(t, dial(t, s), recordRequest()); r.Code != "" {
			t.Fatal(r.Msg)
		}
	})
	t.Run("ErrOwnUserNotListed", func(t *testing.T) {
		s, logs := start(t, Config{Door: okDoor(), Peers: []string{"4294967294"}})
		c := dial(t, s)
		if r := receive(t, c); r.Code != core.Denied || !strings.Contains(r.Msg, "VAULT_AGENT_PEERS") {
			t.Fatalf("got %s %q", r.Code, r.Msg)
		}
		wantClosed(t, c)
		if !strings.Contains(logs.String(), "uid="+me()) {
			t.Errorf("log: %s", logs)
		}
	})
}

// TestPeerUser runs this binary as another user, which only root can.
func TestPeerUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	const nobody = 65534
	dir := shortDir(t)
	bin := copySelf(t, dir)
	asNobody := func(t *testing.T, s *Server) string {
		t.Helper()
		cmd := exec.Command(bin)
		cmd.Env = []string{childEnv + "=" + s.Socket()}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	t.Run("OKListed", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor(), Peers: []string{strconv.Itoa(nobody)}})
		if got := asNobody(t, s); got != "|" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("ErrFileMode", func(t *testing.T) {
		s, _ := start(t, Config{Door: okDoor(), Peers: []string{"0"}})
		if got := asNobody(t, s); !strings.Contains(got, "permission denied") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("ErrCredentials", func(t *testing.T) {
		s, logs := start(t, Config{Door: okDoor(), Peers: []string{"0"}})
		if err := os.Chmod(s.Socket(), 0o666); err != nil { // past the file mode, as a member of the group is
			t.Fatal(err)
		}
		if got := asNobody(t, s); got != "denied|OS user 65534 may not use the key agent; VAULT_AGENT_PEERS lists the users that may" {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(logs.String(), "uid=65534") {
			t.Errorf("log: %s", logs)
		}
	})
}

func copySelf(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(dir, "peer")
	if err := os.WriteFile(p, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// FuzzServe sends any bytes: what comes back is whole, valid responses and then the end.
func FuzzServe(f *testing.F) {
	seeds := 0
	for _, r := range []*frame.Request{generateRequest(), unwrapRequest(2), recordRequest()} {
		b, err := frame.AppendRequest(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(b[:len(b)/2])
		seeds++
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &Server{c: Config{Door: okDoor(), Log: slog.New(slog.DiscardHandler)}, base: context.Background(), conns: map[*conn]struct{}{}}
		s.c.complete()
		ours, theirs := socketPair(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c := &conn{s: s, net: theirs}
			c.serve()
			_ = theirs.Close()
		}()
		go func() {
			_, _ = ours.Write(in)
			_ = ours.CloseWrite()
		}()
		for {
			if _, err := readResponse(ours); err != nil {
				if !errors.Is(err, io.EOF) && !isReset(err) {
					t.Fatal(err)
				}
				break
			}
		}
		_ = ours.Close()
		<-done
	})
}
