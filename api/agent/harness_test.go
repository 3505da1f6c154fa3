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
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
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

func me() string { return strconv.Itoa(os.Getuid()) }

// shortDir is a directory that every user may enter, with a path short enough for a socket.
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

func start(t testing.TB, c Config) (*Server, *pgtest.Log) {
	t.Helper()
	logs := &pgtest.Log{}
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
