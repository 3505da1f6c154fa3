package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Address is where the REST API listens.
type Address struct {
	// HostPort is host:port; an empty host means every address of this system, port 0 any free port.
	HostPort string
	// TLS is false where the API speaks plain HTTP.
	TLS bool
}

// String returns the address in the form that VAULT_API_LISTEN takes.
func (a Address) String() string {
	if a.TLS {
		return "https://" + a.HostPort
	}
	return "http://" + a.HostPort
}

// Loopback reports whether only this system reaches the address.
func (a Address) Loopback() bool {
	host, _, err := net.SplitHostPort(a.HostPort)
	return err == nil && host != "" && loopback(host)
}

// APITLS says how the REST API's own connections are protected. Without a Cert there is no TLS.
type APITLS struct {
	// Cert and Key are files with the certificate, its chain after it, and its key.
	Cert, Key string
	// ClientCA is a file of certificates that may have signed the clients'; "" = clients are not asked for one.
	ClientCA string
	// ClientOptional admits clients without a certificate too; one that is presented is verified in any case.
	ClientOptional bool
}

const (
	nameListen     = "VAULT_API_LISTEN"
	nameConsole    = "VAULT_CONSOLE_LISTEN"
	nameAPICert    = "VAULT_API_TLS_CERT"
	nameAPIKey     = "VAULT_API_TLS_KEY"
	nameClientCA   = "VAULT_API_TLS_CLIENT_CA"
	nameClientAuth = "VAULT_API_TLS_CLIENT_AUTH"
)

// setListen leaves an address without a scheme to checkListen: it speaks TLS if there is a certificate.
func setListen(c *Config, v string) (err error) {
	c.Listen, c.bare, err = parseListen(v)
	return err
}

// setConsole is setListen for the console, which can be off.
func setConsole(c *Config, v string) (err error) {
	c.Console, c.bareConsole = nil, nil
	if v == "off" {
		return nil
	}
	c.Console, c.bareConsole, err = parseListen(v)
	return err
}

func parseListen(v string) (all []Address, bare []bool, err error) {
	for item := range strings.SplitSeq(v, ",") {
		item = strings.TrimSpace(item)
		scheme, rest, found := strings.Cut(item, "://")
		if !found {
			rest = item
		} else if scheme != "http" && scheme != "https" {
			return nil, nil, errWant
		}
		host, port, err := net.SplitHostPort(rest)
		if err != nil || strings.ContainsFunc(host, notPrintable) || strings.ContainsAny(host, "/ ?#@") {
			return nil, nil, errWant
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, nil, errors.New("the port is a number up to 65535")
		}
		same := func(a Address) bool { return a.HostPort == rest }
		if n != 0 && slices.ContainsFunc(all, same) {
			return nil, nil, errors.New("an address is named twice")
		}
		all = append(all, Address{HostPort: rest, TLS: scheme == "https"})
		bare = append(bare, !found)
	}
	return all, bare, nil
}

func setClientAuth(c *Config, v string) error {
	if v != "require" && v != "optional" {
		return errWant
	}
	c.TLS.ClientOptional = v == "optional"
	return nil
}

// checkListen gives addresses without a scheme theirs, and warns of what is sent in the clear.
func (l *loader) checkListen() {
	t := l.cfg.TLS
	secure := false
	for i := range l.cfg.Listen {
		if l.cfg.bare[i] {
			l.cfg.Listen[i].TLS = t.Cert != ""
		}
		secure = secure || l.cfg.Listen[i].TLS
	}
	secure = l.checkConsole() || secure
	if l.failed(nameListen) || l.failed(nameAPICert) || l.failed(nameAPIKey) || l.failed(nameClientCA) {
		return
	}
	if secure && t.Cert == "" {
		l.fail(nameAPICert, "%s is not set: an https address of %s or %s needs a certificate", nameAPICert, nameListen, nameConsole)
		return
	}
	for _, a := range l.cfg.PlainBeyondLoopback() {
		l.warn(nameListen, "%s: %s is reached from beyond loopback in the clear, secrets and tokens included; set %s and %s, or listen on "+
			"loopback behind a TLS proxy that VAULT_TRUST_PROXY names", nameListen, a.HostPort, nameAPICert, nameAPIKey)
	}
	if !secure {
		for name, v := range map[string]string{nameAPICert: t.Cert, nameAPIKey: t.Key, nameClientCA: t.ClientCA} {
			if v != "" {
				l.warn(name, "%s is not used: no address of %s or %s speaks TLS", name, nameListen, nameConsole)
			}
		}
	}
	l.checkPair(nameAPICert, nameAPIKey, t.Cert, t.Key, l.checkShared)
	l.checkClientCA(t)
}

// checkConsole gives the console's addresses without a scheme theirs, and reports whether one speaks TLS. A session is as
// good as a token for its time, so it never crosses a network in the clear.
func (l *loader) checkConsole() (secure bool) {
	for i := range l.cfg.Console {
		a := &l.cfg.Console[i]
		if l.cfg.bareConsole[i] {
			a.TLS = l.cfg.TLS.Cert != ""
		}
		secure = secure || a.TLS
		if !a.TLS && !a.Loopback() {
			l.fail(nameConsole, "%s: %s is reached from beyond loopback in the clear; set %s and %s, or listen on loopback behind a TLS proxy",
				nameConsole, a.HostPort, nameAPICert, nameAPIKey)
			return secure
		}
	}
	return secure
}

// PlainBeyondLoopback returns the addresses that other systems reach without TLS.
func (c Config) PlainBeyondLoopback() (plain []Address) {
	for _, a := range c.Listen {
		if !a.TLS && !a.Loopback() {
			plain = append(plain, a)
		}
	}
	return plain
}

// BeyondLoopback returns the addresses that other systems reach.
func (c Config) BeyondLoopback() (reached []Address) {
	for _, a := range c.Listen {
		if !a.Loopback() {
			reached = append(reached, a)
		}
	}
	return reached
}

// checkShared is the rule for a file that a container runtime may have mounted: a key that every user may read is a warning.
func (l *loader) checkShared(name, file string) error {
	f, open, err := openFile(file)
	if err != nil {
		return err
	}
	if open {
		l.warn(name, "%s: other users of this system may read the file; want mode 0600, or 0640 for a group", name)
	}
	return f.Close()
}

func (l *loader) checkClientCA(t APITLS) {
	if t.ClientCA == "" {
		if t.ClientOptional {
			l.warn(nameClientAuth, "%s is not used without %s", nameClientAuth, nameClientCA)
		}
		return
	}
	text, err := os.ReadFile(t.ClientCA)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		err = errors.New("no certificate is in it")
	}
	if err != nil {
		l.fail(nameClientCA, "%s=%q: %v", nameClientCA, t.ClientCA, reason(err))
	}
}

// checkPair wants both halves, which fit, and a key that passes private.
func (l *loader) checkPair(nameCert, nameKey, certFile, keyFile string, private func(name, file string) error) {
	switch {
	case certFile == "" && keyFile == "":
		return
	case certFile == "":
		l.fail(nameCert, "%s is not set: %s is nothing without it", nameCert, nameKey)
		return
	case keyFile == "":
		l.fail(nameKey, "%s is not set: %s is nothing without it", nameKey, nameCert)
		return
	}
	if err := private(nameKey, keyFile); err != nil {
		l.fail(nameKey, "%s=%q: %v", nameKey, keyFile, err)
		return
	}
	cert, err := os.ReadFile(certFile)
	if err != nil {
		l.fail(nameCert, "%s=%q: %v", nameCert, certFile, reason(err))
		return
	}
	key, err := os.ReadFile(keyFile)
	defer clear(key)
	if err != nil {
		l.fail(nameKey, "%s=%q: %v", nameKey, keyFile, reason(err))
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		// The cause may quote what stands in the files.
		l.fail(nameCert, "%s=%q: it and %s are not a certificate and its key, in PEM and without a passphrase", nameCert, certFile, nameKey)
	}
}
