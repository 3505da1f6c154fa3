// Package certificate holds the TLS certificate of the REST API and reads it again when its files change. The
// certificate in force stays when a change is unusable, so a file that is being written harms no connection. The
// package never logs the contents of a file.
package certificate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const defaultPoll = 2 * time.Second

// Config says which files are used. Cert and Key are required.
type Config struct {
	Cert, Key      string // files in PEM; the chain follows the certificate in Cert
	ClientCA       string // file of the authorities of client certificates, in PEM; "" = clients need no certificate
	ClientOptional bool   // a client without a certificate is accepted too

	Log  *slog.Logger     // required
	Poll time.Duration    // between two polls of the files; 0 = 2 s
	Now  func() time.Time // nil = time.Now
}

// Source is the certificate in force. It is safe for concurrent use.
type Source struct {
	c       Config
	current atomic.Pointer[loaded]

	mu   sync.Mutex
	seen [sha256.Size]byte // what the files held at the last poll of Watch
	said string            // the last error that Watch has logged
}

// loaded is what was made of the files at one time.
type loaded struct {
	conf     *tls.Config
	digest   [sha256.Size]byte
	notAfter time.Time
}

// Open reads the files and returns an error if they are unusable. The error names files and quotes nothing of them.
// Open accepts an expired certificate with a warning, because clients refuse it themselves and a node must start to
// be fixed.
func Open(c Config) (*Source, error) {
	if c.Poll <= 0 {
		c.Poll = defaultPoll
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Source{c: c}
	l, err := s.read()
	if err != nil {
		return nil, err
	}
	s.current.Store(l)
	s.seen = l.digest
	if l.notAfter.Before(c.Now()) {
		c.Log.Warn("the TLS certificate has expired", "file", c.Cert, "not_after", l.notAfter)
	}
	return s, nil
}

// TLS returns the configuration for a listener, with TLS 1.2 as the oldest version. Each handshake uses the certificate
// in force at that time.
func (s *Source) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().conf, nil },
	}
}

func protocols() []string { return []string{"h2", "http/1.1"} }

// NotAfter returns when the certificate in force expires.
func (s *Source) NotAfter() time.Time { return s.current.Load().notAfter }

// Reload reads the files now and puts the certificate in force. On error the old certificate stays. Safe for concurrent
// use.
func (s *Source) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.read()
	if err == nil {
		err = s.use(l)
	}
	return err
}

// Watch polls the files until ctx ends. It uses new contents when two polls have seen them, so that it never uses
// half of a chain. It logs an unusable change once, and one Watch is enough.
func (s *Source) Watch(ctx context.Context) {
	tick := time.NewTicker(s.c.Poll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.poll()
		case <-ctx.Done():
			return
		}
	}
}

func (s *Source) poll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.read()
	if err == nil {
		settled := l.digest == s.seen
		s.seen = l.digest
		if !settled {
			return
		}
		err = s.use(l)
	}
	switch {
	case err == nil:
		s.said = ""
	case err.Error() != s.said:
		s.said = err.Error()
		s.c.Log.Error("the TLS certificate in force stays: the new one cannot be used", "error", s.said)
	}
}

// use puts l in force, unless it is in force already or would be worse; the mutex is held.
func (s *Source) use(l *loaded) error {
	now, old := s.c.Now(), s.current.Load()
	if l.digest == old.digest {
		return nil
	}
	if l.notAfter.Before(now) && !old.notAfter.Before(now) {
		return fmt.Errorf("%s: the certificate expired at %s", s.c.Cert, l.notAfter.UTC().Format(time.RFC3339))
	}
	s.current.Store(l)
	s.c.Log.Info("the TLS certificate was read again", "file", s.c.Cert, "not_after", l.notAfter)
	return nil
}

// read makes a configuration of the files. Its errors name files and quote nothing.
func (s *Source) read() (*loaded, error) {
	cert, err := os.ReadFile(s.c.Cert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(s.c.Key)
	defer clear(key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are not a certificate and its key, in PEM and without a passphrase", s.c.Cert, s.c.Key)
	}
	l := &loaded{notAfter: pair.Leaf.NotAfter, conf: &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols(), Certificates: []tls.Certificate{pair},
	}}
	var ca []byte
	if s.c.ClientCA != "" {
		if ca, err = os.ReadFile(s.c.ClientCA); err != nil {
			return nil, err
		}
		if err = s.verifyClients(l.conf, ca); err != nil {
			return nil, err
		}
	}
	whole := bytes.Join([][]byte{cert, key, ca}, []byte{0})
	defer clear(whole)
	l.digest = sha256.Sum256(whole)
	return l, nil
}

// verifyClients demands certificates of clients. Sessions are not resumed: each connection is judged by the
// authorities of its own time.
func (s *Source) verifyClients(conf *tls.Config, ca []byte) error {
	conf.ClientCAs = x509.NewCertPool()
	if !conf.ClientCAs.AppendCertsFromPEM(ca) {
		return errors.New(s.c.ClientCA + ": no certificate is in it")
	}
	conf.SessionTicketsDisabled = true
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	if s.c.ClientOptional {
		conf.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return nil
}
