package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// keepBuf is the most a connection keeps of its frame buffer while it is idle: thousands of them are.
const keepBuf = 4 << 10

// conn is one backend's connection: one frame after the other, each answered before the next is read.
type conn struct {
	s   *Server
	net net.Conn

	// Server.mu guards what follows.

	busy   bool   // from a frame's first byte to the end of its answer
	leased bool   // the backend has been given a key to keep
	seen   uint64 // Server.revoked when it became busy
}

// serve answers frames until the peer leaves, sends garbage or the server closes. An idle connection has no deadline:
// a backend keeps one for its whole life.
func (c *conn) serve() {
	in := &intake{net: c.net}
	defer func() { envelope.Wipe(in.buf[:in.have]) }()
	var buf []byte
	for {
		if err := in.await(); err != nil {
			return
		}
		if !c.s.begin(c) {
			return
		}
		body, err := c.readFrame(in, buf)
		if err != nil {
			c.refuseFrame(err)
			return
		}
		ok := c.answer(body)
		envelope.Wipe(body)
		if buf = body[:0]; cap(buf) > keepBuf {
			buf = nil
		}
		if !ok || !c.s.end(c) {
			return
		}
	}
}

// readFrame reads a frame whose first byte has come. The rest must arrive in time.
func (c *conn) readFrame(in *intake, buf []byte) ([]byte, error) {
	if in.isWhole() {
		return frame.ReadBody(in, buf)
	}
	if err := c.net.SetReadDeadline(time.Now().Add(c.s.c.FrameTimeout)); err != nil {
		return nil, err
	}
	body, err := frame.ReadBody(in, buf)
	if err != nil {
		return nil, err
	}
	if err := c.net.SetReadDeadline(time.Time{}); err != nil {
		envelope.Wipe(body)
		return nil, err
	}
	return body, nil
}

// answer handles one frame; false ends the connection. After a body that is no request nothing more is read: who sent
// it is out of step.
func (c *conn) answer(body []byte) bool {
	req, err := frame.ParseRequest(body)
	if err != nil {
		c.refuseFrame(err)
		return false
	}
	ctx, cancel := context.WithTimeout(c.s.base, c.s.c.RequestTimeout)
	defer cancel()
	started := time.Now()
	resp, err := c.handle(ctx, req)
	if err != nil {
		c.logFailure(req, err)
		resp = failure(req.Op, err)
	}
	c.s.c.Log.Debug("key agent answered", "op", req.Op, "code", resp.Code, "took", time.Since(started))
	return c.sendWith(resp, c.attachment(req, resp)) == nil
}

// handle turns a panic into an error: the request fails, the process and the other backends go on. The panic's value
// is not logged, since it may hold anything, nor are the arguments on the stack.
func (c *conn) handle(ctx context.Context, req *frame.Request) (resp *frame.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, core.Recovered(p)
			c.s.c.Log.Error("key agent: a request panicked", "op", req.Op, "error", err.Error())
		}
	}()
	return dispatch(ctx, c.s.c.Door, req)
}

// logFailure writes what the operator has to fix. What a caller did wrong is in the audit log, not here.
func (c *conn) logFailure(req *frame.Request, err error) {
	switch core.CodeOf(err) {
	case core.Internal, core.Unavailable, core.Corrupt:
		if c.s.repeats.Take(c.s.c.Log, err, req.Origin.RequestID) {
			return
		}
		c.s.c.Log.Warn("key agent could not answer", "op", req.Op, "request_id", req.Origin.RequestID, "error", err)
	}
}

// send writes one response and wipes it and the bytes it was encoded to, whether or not the peer took them.
// AppendResponse makes its one buffer before it copies keys into it, so there is no third place.
func (c *conn) send(resp *frame.Response) error { return c.sendWith(resp, nil) }

// sendWith is send, with the descriptor of a file, which it closes. nil = without.
func (c *conn) sendWith(resp *frame.Response, f *os.File) error {
	if f != nil {
		defer f.Close()
	}
	out, err := frame.AppendResponse(nil, resp)
	resp.Wipe() // before the write, which may take as long as the peer likes
	if err != nil {
		c.s.c.Log.Error("key agent made a response that cannot be sent", "op", resp.Op, "error", err)
		if out, err = frame.AppendResponse(nil, failure(resp.Op, err)); err != nil {
			return err
		}
	}
	defer envelope.Wipe(out)
	if err := c.net.SetWriteDeadline(time.Now().Add(c.s.c.FrameTimeout)); err != nil {
		return err
	}
	if f == nil {
		_, err = c.net.Write(out)
		return err
	}
	return writeWith(c.net, out, f)
}

// refuseFrame answers what could not be read as a request, if the peer may still be there.
func (c *conn) refuseFrame(err error) {
	level := slog.LevelWarn
	switch {
	case isTimeout(err):
		err = core.Errorf(core.Invalid, "the agent frame did not arrive within %s", c.s.c.FrameTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = core.Errorf(core.Invalid, "the agent frame is cut off")
		level = slog.LevelDebug // a backend that was killed, most likely
	case isHangup(err):
		return
	}
	c.s.c.Log.Log(c.s.base, level, "key agent closes a connection: it did not send a valid frame",
		"error", core.MessageOf(err))
	_ = c.send(failure(0, err))
}

// refuse turns a connection away without reading from it. The answer fits into the socket's empty buffer, so that
// a peer that does not read cannot hold up the accept loop.
func (c *conn) refuse(err error) {
	_ = c.send(failure(0, err))
	_ = c.net.Close()
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// failure is the response that carries err's code and its text for clients, cut to what a frame may hold.
func failure(op frame.Op, err error) *frame.Response {
	return &frame.Response{Op: op, Code: core.CodeOf(err), Msg: message(err, frame.MaxMsgLen)}
}

// message is err's text for clients, cut to limit bytes.
func message(err error, limit int) string {
	msg := strings.ReplaceAll(core.MessageOf(err), "\x00", "")
	return strings.ToValidUTF8(msg[:min(len(msg), limit)], "")
}
