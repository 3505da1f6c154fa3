package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// PostgresTLS says how connections to PostgreSQL are protected. The zero PostgresTLS is the safest that needs no
// further setting: require, and prefer for loopback addresses.
type PostgresTLS struct {
	// Mode is as libpq's sslmode; "" = verify-full with a RootCert, else require, or prefer for loopback addresses.
	Mode string
	// RootCert is a file of certificates that may have signed the server's, or "system"; "" = none.
	RootCert string
	// Cert and Key are files with this client's certificate and its key; "" = none.
	Cert, Key string
}

const systemRoots = "system"

const (
	nameMode = "VAULT_PG_SSLMODE"
	nameRoot = "VAULT_PG_SSLROOTCERT"
	nameCert = "VAULT_PG_SSLCERT"
	nameKey  = "VAULT_PG_SSLKEY"
)

var sslModes = map[string]bool{
	"disable": true, "allow": true, "prefer": true, "require": true, "verify-ca": true, "verify-full": true,
}

func setSSLMode(c *Config, v string) error {
	if !sslModes[v] {
		return errWant
	}
	c.Postgres.TLS.Mode = v
	return nil
}

// file reads the absolute path of a file.
func file(set func(*Config, string)) func(*Config, string) error {
	return func(c *Config, v string) error {
		if !path.IsAbs(v) || strings.ContainsFunc(v, notPrintable) {
			return errWant
		}
		set(c, path.Clean(v))
		return nil
	}
}

func setRootCert(c *Config, v string) error {
	if v == systemRoots {
		c.Postgres.TLS.RootCert = v
		return nil
	}
	return file(func(c *Config, v string) { c.Postgres.TLS.RootCert = v })(c, v)
}

// checkPostgres refuses what would only show at the first connection.
func (l *loader) checkPostgres() {
	l.checkWriteTimeout()
	if l.failed(nameMode) || l.failed(nameRoot) || l.failed(nameCert) || l.failed(nameKey) {
		return
	}
	t := l.cfg.Postgres.TLS
	if t.Mode == "disable" {
		for name, v := range map[string]string{nameRoot: t.RootCert, nameCert: t.Cert, nameKey: t.Key} {
			if v != "" {
				l.warn(name, "%s is not used with %s=disable", name, nameMode)
			}
		}
	}
	l.checkRoot(t)
	l.checkClientCert(t)
	l.warnPlain(t)
}

func (l *loader) checkWriteTimeout() {
	const name = "VAULT_WRITE_TIMEOUT_SECS"
	if l.cfg.WriteTimeout == 0 {
		l.cfg.WriteTimeout = 3 * l.cfg.RequestTimeout
	}
	if l.cfg.WriteTimeout < l.cfg.RequestTimeout && !l.failed(name) && !l.failed("VAULT_REQUEST_TIMEOUT_SECS") {
		l.fail(name, "%s=%q: want at least VAULT_REQUEST_TIMEOUT_SECS, which is %d: a change includes reads", name, l.values[name],
			int(l.cfg.RequestTimeout.Seconds()))
	}
}

func (l *loader) checkRoot(t PostgresTLS) {
	verifies := strings.HasPrefix(t.Mode, "verify-")
	switch {
	case t.RootCert == "" && verifies:
		l.fail(nameRoot, "%s is not set: %s=%s needs the file of the certificates that may have signed the server's, or system", nameRoot,
			nameMode, t.Mode)
	case t.RootCert == systemRoots && t.Mode != "" && t.Mode != "verify-full":
		l.fail(nameMode, "%s=%s: with %s=system only verify-full is safe, because any attacker can get a certificate for some name", nameMode, t.Mode, nameRoot)
	case t.RootCert == "" || t.RootCert == systemRoots:
	default:
		text, err := os.ReadFile(t.RootCert)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
			err = errors.New("no certificate is in it")
		}
		if err != nil {
			l.fail(nameRoot, "%s=%q: %v", nameRoot, t.RootCert, reason(err))
		}
	}
}

func (l *loader) checkClientCert(t PostgresTLS) {
	l.checkPair(nameCert, nameKey, t.Cert, t.Key, func(_, file string) error { return checkPrivate(file) })
}

// checkPrivate is libpq's rule: for its owner alone, or, if that is root, for a group to read too.
func checkPrivate(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return reason(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	open, want := info.Mode().Perm()&0o077, "0600"
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 {
		open, want = info.Mode().Perm()&0o037, "0640 (of root)"
	}
	if open != 0 {
		return fmt.Errorf("others may use it: its mode is %04o, want %s or stricter", info.Mode().Perm(), want)
	}
	return nil
}

// reason leaves out the path, which the sentence has already.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// warnPlain names the hosts to which the password's proof, wrapped keys and sealed values may go for all to see.
func (l *loader) warnPlain(t PostgresTLS) {
	switch t.Mode {
	case "disable", "allow", "prefer":
	default:
		return
	}
	for _, h := range l.cfg.Postgres.Hosts {
		if !loopback(h) {
			l.warn(nameMode, "%s=%s: connections to %s may be in the clear; set require or better verify-full", nameMode, t.Mode, h)
		}
	}
}

func loopback(h string) bool {
	if path.IsAbs(h) {
		return true
	}
	if host, _, err := net.SplitHostPort(h); err == nil {
		h = host
	}
	ip, err := netip.ParseAddr(h)
	return err == nil && ip.IsLoopback() || strings.EqualFold(h, "localhost")
}

func setHosts(c *Config, v string) error {
	c.Postgres.Hosts = nil
	for item := range strings.SplitSeq(v, ",") {
		h := strings.TrimSpace(item)
		if h == "" {
			return errors.New("an entry is empty")
		}
		if !validHost(h) {
			return errWant
		}
		c.Postgres.Hosts = append(c.Postgres.Hosts, h)
	}
	return nil
}

// validHost refuses what would be read as something else in a connection string: URLs, options.
func validHost(h string) bool {
	if path.IsAbs(h) {
		return !strings.ContainsFunc(h, notPrintable)
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	if host, port, err := net.SplitHostPort(h); err == nil {
		n, perr := strconv.ParseUint(port, 10, 16)
		_, aerr := netip.ParseAddr(host)
		return perr == nil && n > 0 && (aerr == nil || hostName(host))
	}
	return hostName(h)
}

func hostName(h string) bool {
	return h != "" && len(h) <= 253 && !strings.ContainsFunc(h, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	})
}

func setPort(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n == 0 {
		return errWant
	}
	c.Postgres.Port = uint16(n)
	return nil
}

// identifier reads a name of PostgreSQL, which silently cuts longer ones.
func identifier(set func(*Config, string)) func(*Config, string) error {
	return func(c *Config, v string) error {
		if len(v) > 63 || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
			return errWant
		}
		set(c, v)
		return nil
	}
}

func setPassword(c *Config, v string) error {
	if !utf8.ValidString(v) {
		return errWant
	}
	c.Postgres.Password = Secret(v)
	return nil
}
