package exttest

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

func TestAgentMisbehaves(t *testing.T) {
	c := sharedCluster(t)
	raw := func(b []byte) func(*fakeAgent) func(*net.UnixConn) {
		return func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(*frame.Request, *frame.Response) []byte { return b })
		}
	}
	// These agents record as they should.
	keysOnly := map[string]bool{"ErrWrongOp": true, "ErrShortKey": true, "ErrLongKey": true, "ErrEmptyKey": true}
	b, open := newBench(t, c), 0
	b.timeoutMs(2000)
	calls := []string{
		"SELECT vault.read_secret('kept')",
		"SELECT vault.read_secret_bytes('kept', 1)",
		"SELECT vault.verify('kept', 'x'::text)",
		"SELECT vault.create_secret('new', 'new value')",
		"SELECT vault.update_secret('kept', 'new value', NULL)",
		"SELECT vault.create_secret('new', NULL::text, 'automatic', rotation_interval_secs => 60)",
	}
	if os.Getuid() == 0 {
		// After each call has failed once, the backend has opened the tables that it needs.
		b.agent.behave(refuse(core.Internal)(b.agent))
		for _, sql := range append(calls, "SELECT * FROM vault.list_secrets()") {
			_ = b.try(sql)
		}
		b.agent.behave(nil)
		b.wantNothingDone()
		open = descriptors(t, b.pid())
	}
	for _, tt := range []struct {
		name  string
		serve func(a *fakeAgent) func(*net.UnixConn)
		state string
		part  string
	}{
		{"ErrClosesAtOnce", func(*fakeAgent) func(*net.UnixConn) {
			return func(*net.UnixConn) {}
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesAfterTheQuestion", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { ask(c) }
		}, "08006", "the key agent closed the connection"},
		{"ErrHalfCloses", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { _ = c.CloseWrite(); untilClosed(c) }
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesItsEar", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { _ = c.CloseRead(); _ = c.CloseWrite(); untilClosed(c) }
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesInTheHeader", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { ask(c); _, _ = c.Write([]byte{0, 0}) }
		}, "08006", "the key agent closed the connection"},
		{"ErrClosesInTheBody", func(*fakeAgent) func(*net.UnixConn) {
			return func(c *net.UnixConn) { ask(c); _, _ = c.Write(header(100, make([]byte, 99))) }
		}, "08006", "the key agent closed the connection"},
		{"ErrGarbage", raw(random(64)[:64]), "", ""},
		{"ErrHTTP", raw([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")), "08P01", "impossible length"},
		{"ErrGarbageBody", raw(header(64, bytes.Repeat([]byte{0xa5}, 64))), "08006", "the key agent sent a malformed answer"},
		{"ErrZeroBody", raw(header(64, make([]byte, 64))), "08006", "the key agent sent a malformed answer"},
		{"ErrOneByteBody", raw(header(1, []byte{1})), "08006", "the key agent sent a malformed answer"},
		{"ErrLengthZero", raw(header(0, nil)), "08P01", "impossible length"},
		{"ErrLengthOversize", raw(header(frame.MaxSize+1, nil)), "08P01", "impossible length"},
		{"ErrLengthHuge", raw(header(0xffffffff, nil)), "08P01", "impossible length"},
		{"ErrLargestBodyOfNothing", raw(header(frame.MaxSize, make([]byte, frame.MaxSize))), "08006", "the key agent sent a malformed answer"},
		{"ErrTrailingByte", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte {
				b := append(encode(r), 0)
				binary.BigEndian.PutUint32(b, uint32(len(b)-4))
				return b
			})
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrWrongOp", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(*frame.Request, *frame.Response) []byte {
				return encode(&frame.Response{Op: frame.OpRecord})
			})
		}, "08006", "the key agent sent an answer to another question"},
		{"ErrOtherOp", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(r *frame.Request, _ *frame.Response) []byte {
				if r.Op == frame.OpGenerate {
					return encode(&frame.Response{Op: frame.OpUnwrap, Keys: [][]byte{random(32)}})
				}
				return encode(&frame.Response{Op: frame.OpGenerate, Keys: [][]byte{random(32)}, KeyID: "k", Wrapped: random(8)})
			})
		}, "08006", "the key agent sent an answer to another question"},
		{"ErrShortKey", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte { return rewritten(r, 31) })
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrLongKey", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte { return rewritten(r, 33) })
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrEmptyKey", func(a *fakeAgent) func(*net.UnixConn) {
			return replace(a, func(_ *frame.Request, r *frame.Response) []byte { return rewritten(r, 0) })
		}, "08006", "the key agent sent a malformed answer"},
		{"ErrCodeUnavailable", refuse(core.Unavailable), "08006", "key agent: no, unavailable"},
		{"ErrCodeDenied", refuse(core.Denied), "42501", "key agent: no, denied"},
		{"ErrCodeCorrupt", refuse(core.Corrupt), "XX001", "key agent: no, corrupt"},
		{"ErrCodeInvalid", refuse(core.Invalid), "22023", "key agent: no, invalid"},
		{"ErrCodeInternal", refuse(core.Internal), "XX000", "internal error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := b.in(t)
			b.agent.behave(tt.serve(b.agent))
			pid := b.pid()
			for _, sql := range calls {
				err := b.try(sql)
				if tt.state == "" {
					if err == nil {
						t.Errorf("%s succeeded", sql)
					}
					continue
				}
				wantError(t, err, tt.state, tt.part)
				if b.PgConn().TxStatus() != 'I' {
					t.Fatal("a transaction is left open")
				}
			}
			// The list is recorded by the agent before it leaves.
			if err := b.try("SELECT * FROM vault.list_secrets()"); (err == nil) != keysOnly[tt.name] {
				t.Errorf("a list: %v", err)
			}
			if got := get[int](b.session, "SELECT pg_backend_pid()"); got != pid {
				t.Errorf("another backend: %d, not %d", got, pid)
			}
			b.wantNothingDone()
		})
	}
	if os.Getuid() == 0 { // for others a process that is not dumpable does not show its files
		if n := descriptors(t, b.pid()); n > open+2 { // a connection that is kept; one left open by each case would be many
			t.Errorf("%d files are open after all that, %d before", n, open)
		}
	}
}

// Two keys where one was asked for, or one for two.
func TestAgentWrongNumberOfKeys(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("UPDATE vault.secrets SET grace_period_secs = 3600")
	b.exec("SELECT vault.update_secret('kept', 'second value', 1)")
	for n := 1; n <= 3; n++ {
		b.agent.behave(replace(b.agent, func(r *frame.Request, _ *frame.Response) []byte {
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = random(32)
			}
			op := frame.OpUnwrap
			if n == 1 && r.Op == frame.OpLease {
				op = r.Op
			}
			return encode(&frame.Response{Op: op, Keys: keys})
		}))
		state, part := "08006", "the key agent sent an answer to another question"
		if n == 1 {
			state, part = "XX001", "" // the right number, but of wrong keys
		}
		wantError(t, b.try("SELECT vault.read_secret('kept')"), state, part)
		if n == 2 {
			state, part = "XX001", ""
		} else {
			state, part = "08006", "the key agent sent an answer to another question"
		}
		wantError(t, b.try("SELECT vault.verify('kept', 'second value'::text)"), state, part)
	}
	b.agent.behave(nil)
	if !get[bool](b.session, "SELECT vault.verify('kept', $1::text)", keptValue) {
		t.Error("the version in grace does not verify")
	}
}

func TestAgentWrongKey(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.agent.behave(replace(b.agent, func(_ *frame.Request, r *frame.Response) []byte {
		if r.Op == frame.OpUnwrap || r.Op == frame.OpLease {
			r.Keys = [][]byte{random(32)}
		}
		return encode(r)
	}))
	for range 3 {
		wantError(t, b.try("SELECT vault.read_secret('kept')"), "XX001", "")
		wantError(t, b.try("SELECT vault.verify('kept', $1::text)", keptValue), "XX001", "")
	}
	// The failures are on record, beside the reads that the agent saw.
	failed := 0
	for _, r := range b.agent.recorded() {
		if r.Op == frame.OpRecord && r.Outcome == frame.OutcomeFailed && r.Code == core.Corrupt && r.Name == "kept" {
			failed++
		}
	}
	if failed != 6 {
		t.Errorf("%d failures recorded, not 6", failed)
	}
	b.wantNothingDone()
}
