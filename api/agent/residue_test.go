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

func (c *closedAfter) Read(b []byte) (int, error) { return c.in.Read(b) }

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
	first, buf := peer.in.Next(1)[0], make([]byte, 0, 4096)
	c := &conn{s: &Server{c: Config{FrameTimeout: time.Second}}, net: peer}
	if _, err := c.readFrame(first, buf); err == nil || peer.deadlines != 2 || peer.in.Len() != 0 {
		t.Fatalf("%v, %d deadlines, %d bytes are left", err, peer.deadlines, peer.in.Len())
	}
	if len(bytes.Trim(buf[:cap(buf)], "\x00")) != 0 {
		t.Error("the frame is not wiped")
	}
}
