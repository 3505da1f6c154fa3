package client

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Client is a vault as one caller sees it. It is safe for concurrent use.
type Client struct {
	base        string
	token       *string
	timeout     time.Duration
	retries     int
	consistency string
	http        *http.Client
	position    *lastPosition // nil when stale reads are allowed
}

// New checks a configuration and connects to nothing. No error shows the token.
func New(c Config) (*Client, error) {
	base, err := c.base()
	if err != nil {
		return nil, err
	}
	if err := checkToken(c.Token); err != nil {
		return nil, err
	}
	if c.Consistency != "" && c.Consistency != "primary" && c.Consistency != "local" {
		return nil, errConsistency
	}
	transport := c.Transport
	if transport == nil {
		settings, err := c.TLS.Load()
		if err != nil {
			return nil, err
		}
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: settings, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		}
	}
	cl := &Client{base: base, token: &c.Token, timeout: c.Timeout, retries: c.MaxRetries, consistency: c.Consistency}
	if cl.timeout <= 0 {
		cl.timeout = DefaultTimeout
	}
	if cl.retries == 0 {
		cl.retries = DefaultMaxRetries
	}
	if !c.StaleReads {
		cl.position = &lastPosition{}
	}
	cl.http = &http.Client{
		Transport: transport,
		// A token and values are for the server that was named, and for no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return cl, nil
}

// WithToken returns a client that sends another token, or none if it is empty. Both share their connections and their
// position.
func (c *Client) WithToken(token string) (*Client, error) {
	if err := checkToken(token); err != nil {
		return nil, err
	}
	other := *c
	other.token = &token
	return &other, nil
}

// HasToken reports whether the client sends a token.
func (c *Client) HasToken() bool { return *c.token != "" }

// Address returns the address of the server, without a slash at its end.
func (c *Client) Address() string { return c.base }

// Close closes idle connections. The client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Position returns the position of the last change that the client made or was told of, empty if there is none.
func (c *Client) Position() string {
	if c.position == nil {
		return ""
	}
	return c.position.get()
}

// Advance makes later reads see everything up to a position of another client. It ignores one that is older than the
// client's own.
func (c *Client) Advance(position string) {
	if c.position != nil {
		c.position.advance(position)
	}
}

// lastPosition is the greatest position of a write-ahead log that was seen.
type lastPosition struct {
	mu   sync.Mutex
	last position
	text atomic.Pointer[string]
}

func (l *lastPosition) get() string {
	if s := l.text.Load(); s != nil {
		return *s
	}
	return ""
}

func (l *lastPosition) advance(text string) {
	p, ok := parsePosition(text)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.less(p) {
		l.last = p
		l.text.Store(&text)
	}
}
