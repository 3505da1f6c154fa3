package migrate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	requestTimeout = time.Minute
	maxAnswer      = 64 << 20
	maxTries       = 6
	maxWait        = time.Minute
)

// Client speaks the protocol of the KV engine, version 2, with one mount of one server. It is safe for concurrent use.
type Client struct {
	base, mount, token, namespace string
	http                          *http.Client
	wait                          func(context.Context, time.Duration) error
}

// ClientConfig says where a server is. Address is https, or http on this machine. Roots are the PEM certificates of the
// authorities to trust; nil = those of the system. Namespace may be empty.
type ClientConfig struct {
	Address, Mount, Token, Namespace string
	Roots                            []byte
	TLS                              *tls.Config   // in place of Roots, unless it is nil
	PlainHTTP                        bool          // http is allowed to other machines
	Timeout                          time.Duration // of one request; 0 = a minute
}

// NewClient checks a configuration and connects to nothing. No error shows the token.
func NewClient(c ClientConfig) (*Client, error) {
	base, err := baseOf(c.Address, c.PlainHTTP)
	if err != nil {
		return nil, err
	}
	if _, err := core.ParseName(c.Mount); err != nil {
		return nil, fmt.Errorf("the mount is not valid: %w", err)
	}
	if c.Token == "" || strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token is missing, or has characters that no token has")
	}
	settings, err := c.tls()
	if err != nil {
		return nil, err
	}
	return &Client{
		base: base, mount: c.Mount, token: c.Token, namespace: c.Namespace, wait: wait,
		http: &http.Client{
			Timeout:   cmp.Or(c.Timeout, requestTimeout),
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: settings, ForceAttemptHTTP2: true},
			// A token and values are for the server that was named, and for no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func (c *ClientConfig) tls() (*tls.Config, error) {
	if c.TLS != nil {
		return c.TLS, nil
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Roots != nil {
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(c.Roots) {
			return nil, errors.New("the file of certificate authorities has no certificate")
		}
	}
	return settings, nil
}

// Close ends the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func baseOf(address string, plainHTTP bool) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("an address is like https://vault.example.org:8200")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && (plainHTTP || onThisMachine(u.Hostname())):
	default:
		return "", errors.New("an address must begin with https://, because values must not cross a network in the clear; http:// is for this machine")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func onThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// statusError is an answer that is no success. Texts is what the server says, and is shown for our own server only.
type statusError struct {
	status int
	texts  []string
}

func (e *statusError) Error() string {
	switch {
	case e.status/100 == 3:
		return fmt.Sprintf("the server answers %d: it redirects to another address; give that one", e.status)
	case e.status == http.StatusUnauthorized:
		return "the server answers 401: the token is not valid"
	case e.status == http.StatusForbidden:
		return "the server answers 403: the token may not do this"
	}
	return fmt.Sprintf("the server answers %d", e.status)
}

// says returns the error with the server's own text, which is safe for our server alone: a foreign one may say anything.
func (e *statusError) says() string {
	if len(e.texts) == 0 || e.status == http.StatusForbidden {
		return e.Error()
	}
	return fmt.Sprintf("the API answers %d: %s", e.status, printable(e.texts[0]))
}

func printable(s string) string {
	const most = 300
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s[:min(len(s), most)])
}

// statusOf returns the status of an answer that is no success, 0 for any other error.
func statusOf(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status
	}
	return 0
}

// do sends a request below the mount.
func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	return c.doAt(ctx, method, "/v1/"+c.mount+path, body)
}

// doAt sends a request and returns the answer, which the caller wipes. It tries again later if the server wants that.
func (c *Client) doAt(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	return c.doIf(ctx, method, path, body, "")
}

// doIf is doAt with an If-Match, unless that is empty.
func (c *Client) doIf(ctx context.Context, method, path string, body []byte, match string) ([]byte, error) {
	for try := 1; ; try++ {
		status, header, answer, err := c.once(ctx, method, path, body, match)
		if err != nil {
			return nil, err
		}
		if status/100 == 2 {
			return answer, nil
		}
		texts := textsOf(answer)
		envelope.Wipe(answer)
		if !isPassing(method, status) || try == maxTries {
			return nil, &statusError{status: status, texts: texts}
		}
		if err := c.wait(ctx, pause(header, try)); err != nil {
			return nil, err
		}
	}
}

// isPassing reports whether a request may be answered otherwise later. A proxy that got no answer does not know whether a
// change was made, so only what changes nothing is sent again then.
func isPassing(method string, status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return method == http.MethodGet
	}
	return false
}

// pause is how long to wait before another try.
func pause(header http.Header, try int) time.Duration {
	if secs, err := strconv.Atoi(header.Get("Retry-After")); err == nil && secs >= 0 {
		return min(time.Duration(min(secs, 3600))*time.Second, maxWait)
	}
	return time.Second << (try - 1)
}

func (c *Client) once(ctx context.Context, method, path string, body []byte, match string) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, errors.New("the request cannot be made")
	}
	req.Header.Set("X-Vault-Token", c.token)
	req.Header.Set("X-Vault-Request", "true")
	if c.namespace != "" {
		req.Header.Set("X-Vault-Namespace", c.namespace)
	}
	if match != "" {
		req.Header.Set("If-Match", match)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, unreachable(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := readAll(resp.Body, resp.ContentLength, maxAnswer)
	if errors.Is(err, errTooLarge) {
		return 0, nil, nil, &unfit{"an answer has " + err.Error()}
	}
	if err != nil {
		return 0, nil, nil, fmt.Errorf("the answer broke off: %w", err)
	}
	return resp.StatusCode, resp.Header, answer, nil
}

// unreachable leaves out the URL, which has the name of a secret, and keeps the reason.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if o, ok := errors.AsType[*net.OpError](err); ok {
		err = o
	}
	return errors.New("the server cannot be reached: " + printable(err.Error())) // a certificate may have any name
}

func textsOf(answer []byte) (texts []string) {
	o, err := jsonscan.Object(answer, nil)
	if err != nil || !bytes.HasPrefix(o["errors"], []byte("[")) {
		return nil
	}
	_ = jsonscan.Elements(o["errors"], func(e []byte) error {
		text, err := jsonscan.Unquote(e)
		texts = append(texts, string(text))
		return err
	})
	return texts
}

var errTooLarge = errors.New("over")

// readAll reads up to limit bytes, and wipes what it outgrows. length is how much is expected, if that is known.
func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	const least, most = 4096, 1 << 20
	buf := make([]byte, 0, max(least, min(length+1, most)))
	for {
		if len(buf) == cap(buf) {
			grown := append(make([]byte, 0, 2*cap(buf)), buf...)
			envelope.Wipe(buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err == nil && int64(len(buf)) > limit {
			err = fmt.Errorf("%w %d bytes", errTooLarge, limit)
		}
		if err != nil {
			envelope.Wipe(buf)
			return nil, err
		}
	}
}
