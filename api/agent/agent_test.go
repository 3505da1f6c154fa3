package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

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

// keepingConn keeps the slices it is given to write, as no other code may.
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
