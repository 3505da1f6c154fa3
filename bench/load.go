package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// load is one thread that keeps connections busy with prepared requests: each gets its next request when its answer
// is complete. It shares the machine's cores with the servers that it measures, so it does little else.
type load struct {
	addr  string
	conns int
	next  func() []byte // the next request; called by one goroutine
}

// pipe is one connection of a load.
type pipe struct {
	fd   int
	in   []byte
	sent time.Time
}

// answerRoom is how much of an answer is read at a time.
const answerRoom = 64 << 10

// run keeps the connections busy and returns how long each request took that began between start and end. The first
// answer that is not 200 ends it.
func (l load) run(ctx context.Context, start, end time.Time) ([]time.Duration, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(ep)
	pipes := map[int32]*pipe{}
	defer func() {
		for _, p := range pipes {
			unix.Close(p.fd)
		}
	}()
	for range l.conns {
		p, err := l.open(ep)
		if err != nil {
			return nil, err
		}
		pipes[int32(p.fd)] = p
	}
	for _, p := range pipes {
		if err := l.send(p); err != nil {
			return nil, err
		}
	}
	return l.drive(ctx, ep, pipes, start, end)
}

func (l load) drive(ctx context.Context, ep int, pipes map[int32]*pipe, start, end time.Time) ([]time.Duration, error) {
	kept := make([]time.Duration, 0, 1<<16)
	events := make([]unix.EpollEvent, l.conns)
	idle := 0
	for ctx.Err() == nil {
		n, err := unix.EpollWait(ep, events, 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
		if idle++; n > 0 {
			idle = 0
		} else if idle > 30 {
			return nil, errors.New("no answer for 30 seconds")
		}
		for _, e := range events[:max(n, 0)] {
			p := pipes[e.Fd]
			whole, err := p.receive()
			if err != nil {
				return nil, err
			}
			if !whole {
				continue
			}
			now := time.Now()
			if p.sent.After(start) {
				kept = append(kept, now.Sub(p.sent))
			}
			if now.After(end) {
				return kept, nil
			}
			if err := l.send(p); err != nil {
				return nil, err
			}
		}
	}
	return nil, ctx.Err()
}

// open connects, and only then makes the socket non-blocking.
func (l load) open(ep int) (*pipe, error) {
	at, err := netip.ParseAddrPort(l.addr)
	if err != nil || !at.Addr().Is4() {
		return nil, fmt.Errorf("want an IPv4 address and port, not %q", l.addr)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &pipe{fd: fd, in: make([]byte, 0, answerRoom)}
	err = errors.Join(unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.SetNonblock(fd, true),
		unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
	if err != nil {
		unix.Close(fd)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return p, nil
}

// send writes the next request, which is small enough for an idle socket.
func (l load) send(p *pipe) error {
	req := l.next()
	p.in, p.sent = p.in[:0], time.Now()
	n, err := unix.Write(p.fd, req)
	if err == nil && n < len(req) {
		err = errors.New("the socket does not take a whole request")
	}
	return err
}

// receive reads what there is and reports whether the answer is complete.
func (p *pipe) receive() (whole bool, err error) {
	p.in = slices.Grow(p.in, answerRoom/2)
	n, err := unix.Read(p.fd, p.in[len(p.in):cap(p.in)])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, err
	case n == 0:
		return false, errors.New("the server closed the connection")
	}
	p.in = p.in[:len(p.in)+n]
	return complete(p.in)
}

var (
	okLine    = []byte("HTTP/1.1 200 ")
	lengthIs  = []byte("\r\nContent-Length: ")
	chunked   = []byte("\r\nTransfer-Encoding: chunked\r\n")
	lastChunk = []byte("\r\n0\r\n\r\n")
	headEnd   = []byte("\r\n\r\n")
)

// complete reports whether b is one whole answer: it reads no more of it than that takes.
func complete(b []byte) (bool, error) {
	head := bytes.Index(b, headEnd)
	if head < 0 {
		return false, nil
	}
	if !bytes.HasPrefix(b, okLine) {
		return false, fmt.Errorf("not 200: %.300q", b)
	}
	if bytes.Contains(b[:head+2], chunked) {
		return bytes.HasSuffix(b, lastChunk), nil
	}
	i := bytes.Index(b[:head], lengthIs)
	if i < 0 {
		return false, fmt.Errorf("an answer of unknown length: %.300q", b)
	}
	digits, _, _ := bytes.Cut(b[i+len(lengthIs):head+2], headEnd[:2])
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return false, err
	}
	return len(b) >= head+len(headEnd)+n, nil
}
