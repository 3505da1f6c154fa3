package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/hyperiondb/hyperion-vault/core"
)

// AnswerProblems returns ln with connections on which the answers that net/http itself gives to malformed requests are
// problem details with a request id, as all others are. It has to see the bytes, so it is for plain HTTP.
func AnswerProblems(ln net.Listener) net.Listener { return problemListener{ln} }

type problemListener struct{ net.Listener }

func (l problemListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &problemConn{c}, nil
}

// problemConn translates what net/http writes past every handler. It begins with these headers and no others, which
// no answer of a handler does, and comes in one piece.
type problemConn struct{ net.Conn }

var (
	statusLine    = []byte("HTTP/1.1 ")
	libraryHeader = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
)

func (c *problemConn) Write(b []byte) (int, error) {
	if status := libraryAnswer(b); status != 0 {
		if _, err := c.Conn.Write(problemAnswer(status)); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// CloseWrite is what net/http does before it closes, so that the client can read the answer to its end.
func (c *problemConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// libraryAnswer returns the status of an answer that net/http made by itself, or 0.
func libraryAnswer(b []byte) int {
	rest, ok := bytes.CutPrefix(b, statusLine)
	if !ok || len(rest) < 3 {
		return 0
	}
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	if !bytes.HasPrefix(rest[len(line):], libraryHeader) {
		return 0
	}
	status, err := strconv.Atoi(string(rest[:3]))
	if err != nil || status < 400 {
		return 0
	}
	return status
}

// problemAnswer says of the request only what the status does: its text may be anything.
func problemAnswer(status int) []byte {
	p := problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: string(core.Invalid), RequestID: idOf(nil)}
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		p.Code, p.Detail = string(core.TooLarge), fmt.Sprintf("the header is over %d bytes", maxHeaderBytes)
	case http.StatusNotImplemented:
		p.Detail = "the transfer encoding is not supported"
	case http.StatusHTTPVersionNotSupported:
		p.Detail = "the version of HTTP is not supported"
	default:
		p.Detail = "the request is not well-formed HTTP"
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte("{}")
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"+
		"X-Content-Type-Options: nosniff\r\nX-Request-Id: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		status, p.Title, p.RequestID, len(body), body)
}
