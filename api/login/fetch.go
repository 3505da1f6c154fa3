package login

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	fetchTimeout = 5 * time.Second
	maxFetched   = 256 << 10
)

func isSecure(u *url.URL) bool { return u.Scheme == "https" && u.Host != "" }

// isLocal reports whether the URL names this machine: a file, or plain HTTP to a loopback address. A host name is not
// enough, since it may resolve to anything.
func isLocal(u *url.URL) bool {
	switch u.Scheme {
	case "file":
		return u.Host == "" && path.IsAbs(u.Path) && path.Clean(u.Path) == u.Path && u.RawQuery == ""
	case "http":
		a, err := netip.ParseAddr(u.Hostname())
		return err == nil && a.IsLoopback()
	}
	return false
}

// fetcher gets the documents of issuers, each within a bound of size and time. It follows no redirect.
type fetcher struct {
	local  bool // files and plain HTTP on loopback are allowed
	client *http.Client
}

func newFetcher(roots *x509.CertPool, local bool) *fetcher {
	f := &fetcher{local: local}
	f.client = &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: fetchTimeout, MaxIdleConns: 1, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the issuer redirects") },
	}
	return f
}

func (f *fetcher) allowed(u *url.URL) bool { return isSecure(u) || f.local && isLocal(u) }

// get returns what is at the URL. Every failure is Unavailable.
func (f *fetcher) get(ctx context.Context, text string) ([]byte, error) {
	u, err := url.Parse(text)
	if err != nil || !f.allowed(u) {
		return nil, errNotAllowed()
	}
	if u.Scheme == "file" {
		return readBounded(u.Path)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errNotAllowed()
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := f.client.Do(req)
	if err != nil {
		return nil, core.Wrap(core.Unavailable, err, "fetch the keys of the issuer")
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, core.Errorf(core.Unavailable, "the issuer answers with status %d", res.StatusCode)
	}
	body, err := io.ReadAll(bounded(res.Body))
	if err != nil {
		return nil, core.Wrap(core.Unavailable, err, "read the keys of the issuer")
	}
	return body, nil
}

func errNotAllowed() error {
	return core.Errorf(core.Unavailable, "the URL of the issuer's keys is not https, and this node allows no local one (VAULT_LOGIN_LOCAL_KEYS)")
}

func readBounded(file string) ([]byte, error) {
	// Without O_NONBLOCK, the opening of a pipe waits for a writer.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, core.Wrap(core.Unavailable, err, "open the file of the issuer's keys")
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, core.Errorf(core.Unavailable, "the file of the issuer's keys is no regular file")
	}
	body, err := io.ReadAll(bounded(f))
	if err != nil {
		return nil, core.Wrap(core.Unavailable, err, "read the file of the issuer's keys")
	}
	return body, nil
}

// bounded reads at most maxFetched bytes of r, and fails when there are more.
func bounded(r io.Reader) io.Reader {
	return io.MultiReader(io.LimitReader(r, maxFetched), tooLong{r})
}

type tooLong struct{ r io.Reader }

func (t tooLong) Read(p []byte) (int, error) {
	n, err := io.ReadFull(t.r, p[:min(1, len(p))])
	if n > 0 {
		return 0, core.Errorf(core.Unavailable, "the document is longer than %d bytes", maxFetched)
	}
	return 0, err
}
