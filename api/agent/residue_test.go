package agent

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"
)

// closedAfter is a connection that is closed once it has been read.
type closedAfter struct {
	net.Conn
	in        bytes.Buffer
	deadlines int
}

func (c *closedAfter) Read(b []byte) (int, error) { return c.in.Read(b[:1]) }

func (c *closedAfter) SetReadDeadline(time.Time) error {
	if c.deadlines++; c.deadlines > 1 {
		return errors.New("closed")
	}
	return nil
}

// TestUnansweredFrameIsWiped: a frame that was read and will not be answered does not stay in the buffer.
func TestUnansweredFrameIsWiped(t *testing.T) {
	peer := &closedAfter{}
	send(t, &peer.in, generateRequest())
	buf := make([]byte, 0, 4096)
	c := &conn{s: &Server{c: Config{FrameTimeout: time.Second}}, net: peer}
	in := &intake{net: peer}
	if err := in.await(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.readFrame(in, buf); err == nil || peer.deadlines != 2 || peer.in.Len() != 0 {
		t.Fatalf("%v, %d deadlines, %d bytes are left", err, peer.deadlines, peer.in.Len())
	}
	if len(bytes.Trim(buf[:cap(buf)], "\x00")) != 0 || len(bytes.Trim(in.buf[:], "\x00")) != 0 {
		t.Error("the frame is not wiped")
	}
}

// whole is a connection on which everything has come.
type whole struct {
	net.Conn
	in    bytes.Buffer
	reads int
}

func (c *whole) Read(b []byte) (int, error) { c.reads++; return c.in.Read(b) }

// TestFramesThatHaveComeTakeOneRead: they need no deadline either, and what the intake gave away it does not keep.
func TestFramesThatHaveComeTakeOneRead(t *testing.T) {
	peer := &whole{}
	send(t, &peer.in, generateRequest())
	send(t, &peer.in, recordRequest())
	c := &conn{s: &Server{c: Config{FrameTimeout: time.Second}}, net: peer}
	in := &intake{net: peer}
	for range 2 {
		if err := in.await(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.readFrame(in, nil); err != nil {
			t.Fatal(err)
		}
	}
	if peer.reads != 1 || len(bytes.Trim(in.buf[:], "\x00")) != 0 {
		t.Errorf("%d reads, and left is %q", peer.reads, in.buf[:])
	}
}
