package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Defaults of Config.
const (
	DefaultTimeout    = 60 * time.Second
	DefaultMaxRetries = 4
)

// Config says where a vault is and how to talk to it. Address is required; every other zero value is a default.
type Config struct {
	// Address is https://HOST:PORT, or http://… on this machine.
	Address string
	// Token is sent with each request. It may be empty.
	Token string
	// PlainHTTP allows http:// to other machines. Tokens and values then cross the network in the clear.
	PlainHTTP bool
	TLS       TLSFiles

	// Timeout bounds one attempt of a request. It does not bound Watch and Audit. Zero is DefaultTimeout.
	Timeout time.Duration
	// MaxRetries is how often a request may be sent again. Zero is DefaultMaxRetries, and a negative number is none.
	MaxRetries int
	// Consistency is "primary", "local", or empty for what the server is set to.
	Consistency string
	// StaleReads switches read-your-writes off.
	StaleReads bool

	// Transport replaces the package's own, with its TLS settings. It is for tests.
	Transport http.RoundTripper
}

// TLSFiles names files in PEM. A client certificate is read again for each connection, so it may be replaced meanwhile.
type TLSFiles struct {
	CAFile     string // authorities to trust; empty = those of the system
	CADir      string // a directory of such files
	CertFile   string // client certificate, with KeyFile
	KeyFile    string
	ServerName string // to expect in the server's certificate, in place of the host of Address
}

// FromEnviron returns the configuration that an environment in the form of os.Environ describes. It takes the variables
// that clients of HashiCorp Vault and OpenBao take: VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT, VAULT_CAPATH,
// VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME, VAULT_CLIENT_TIMEOUT and VAULT_MAX_RETRIES. Without
// VAULT_TOKEN the token is that of the file .vault-token in HOME, if there is one. VAULT_PLAIN_HTTP=true sets PlainHTTP,
// and VAULT_READ_CONSISTENCY sets Consistency. VAULT_SKIP_VERIFY is refused.
func FromEnviron(environ []string) (Config, error) {
	env := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	c := Config{
		Address: env["VAULT_ADDR"], Token: env["VAULT_TOKEN"], Consistency: env["VAULT_READ_CONSISTENCY"],
		TLS: TLSFiles{
			CAFile: env["VAULT_CACERT"], CADir: env["VAULT_CAPATH"], CertFile: env["VAULT_CLIENT_CERT"],
			KeyFile: env["VAULT_CLIENT_KEY"], ServerName: env["VAULT_TLS_SERVER_NAME"],
		},
	}
	if c.Address == "" {
		c.Address = "https://127.0.0.1:8200"
	}
	return c, errors.Join(c.readSwitches(env), c.readNumbers(env), c.readTokenFile(env["HOME"]))
}

func (c *Config) readSwitches(env map[string]string) error {
	for _, name := range []string{"VAULT_PLAIN_HTTP", "VAULT_SKIP_VERIFY"} {
		if env[name] == "" {
			continue
		}
		on, err := strconv.ParseBool(env[name])
		switch {
		case err != nil:
			return fmt.Errorf("%s is neither true nor false", name)
		case on && name == "VAULT_SKIP_VERIFY":
			return errors.New("VAULT_SKIP_VERIFY is not supported, because others could then read what you send; set VAULT_CACERT to the certificate of the server's authority")
		case on:
			c.PlainHTTP = true
		}
	}
	return nil
}

func (c *Config) readNumbers(env map[string]string) error {
	if text := env["VAULT_CLIENT_TIMEOUT"]; text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			var secs int
			secs, err = strconv.Atoi(text)
			d = time.Duration(secs) * time.Second
		}
		if err != nil || d <= 0 {
			return errors.New("VAULT_CLIENT_TIMEOUT is a time like 30s")
		}
		c.Timeout = d
	}
	if text := env["VAULT_MAX_RETRIES"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 100 {
			return errors.New("VAULT_MAX_RETRIES is a number from 0 to 100")
		}
		if c.MaxRetries = n; n == 0 {
			c.MaxRetries = -1
		}
	}
	return nil
}

// TokenFile is where a login leaves its token, below the home directory.
const TokenFile = ".vault-token"

func (c *Config) readTokenFile(home string) error {
	if c.Token != "" || home == "" {
		return nil
	}
	path := filepath.Join(home, TokenFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the token file cannot be read: %w", err)
	}
	c.Token = strings.TrimSpace(string(text))
	return nil
}

// base checks the address and returns it without a slash at its end.
func (c *Config) base() (string, error) {
	if c.Address == "" {
		return "", errors.New("no address is given; set VAULT_ADDR, as in VAULT_ADDR=https://vault.example.org:8200")
	}
	u, err := url.Parse(c.Address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.TrimRight(u.Path, "/") != "" {
		return "", errors.New("the address (VAULT_ADDR) is not valid; it is like https://vault.example.org:8200")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && (c.PlainHTTP || onThisMachine(u.Hostname())):
	case u.Scheme == "http":
		return "", errors.New("the address (VAULT_ADDR) begins with http://, so tokens and values would cross the network in the clear; use https://, or set VAULT_PLAIN_HTTP=true if the network is safe")
	default:
		return "", errors.New("the address (VAULT_ADDR) begins with neither https:// nor http://")
	}
	return u.Scheme + "://" + u.Host, nil
}

func onThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// checkToken refuses what cannot stand in a header.
func checkToken(token string) error {
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token has characters that no token has; check VAULT_TOKEN and ~/.vault-token")
	}
	return nil
}

// Load reads the files that f names, for connections that are not the package's own.
func (f TLSFiles) Load() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName}
	paths, err := f.authorities()
	if err != nil {
		return nil, err
	}
	if len(paths) > 0 {
		settings.RootCAs = x509.NewCertPool()
	}
	for _, path := range paths {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("the certificate authority (VAULT_CACERT, VAULT_CAPATH) cannot be read: %w", err)
		}
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s (VAULT_CACERT, VAULT_CAPATH) has no certificate in PEM", path)
		}
	}
	if (f.CertFile == "") != (f.KeyFile == "") {
		return nil, errors.New("a client certificate needs both VAULT_CLIENT_CERT and VAULT_CLIENT_KEY")
	}
	if f.CertFile == "" {
		return settings, nil
	}
	load := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("the client certificate (VAULT_CLIENT_CERT, VAULT_CLIENT_KEY) cannot be used: %w", err)
		}
		return &cert, nil
	}
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	_, err = load()
	return settings, err
}

func (f TLSFiles) authorities() ([]string, error) {
	var paths []string
	if f.CAFile != "" {
		paths = append(paths, f.CAFile)
	}
	if f.CADir != "" {
		entries, err := os.ReadDir(f.CADir)
		if err != nil {
			return nil, fmt.Errorf("the directory of certificate authorities (VAULT_CAPATH) cannot be read: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				paths = append(paths, filepath.Join(f.CADir, e.Name()))
			}
		}
	}
	return paths, nil
}
