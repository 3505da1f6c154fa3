package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
)

// TestEventsOverHTTP2: a stream outlives the limits of an ordinary answer there too.
func TestEventsOverHTTP2(t *testing.T) {
	ca := pki.NewCA(t)
	closing := make(chan struct{})
	a := newAPI(t, func(c *httpapi.Config) { c.Closing, c.WatchPoll = closing, 10*time.Millisecond })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := httpapi.NewServer(httpapi.ServerConfig{Handler: fromInside(a), TLS: &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, "s", time.Now().Add(time.Hour)).TLS(t)}, NextProtos: []string{"h2", "http/1.1"},
	}})
	const limit = 200 * time.Millisecond
	srv.WriteTimeout, srv.ReadTimeout = limit, limit
	go func() { _ = srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { must(t, srv.Close()) })
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, ForceAttemptHTTP2: true}, Timeout: 30 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	resp, err := c.Get("https://" + ln.Addr().String() + "/v1/events")
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Fatalf("%s %d", resp.Proto, resp.StatusCode)
	}
	<-time.After(3 * limit) // nothing happens for longer than the limits
	a.create("later", marker)
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"name":"later"`) {
			close(closing)
			return
		}
	}
	close(closing)
	t.Errorf("the stream ended: %v", lines.Err())
}
