package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.file, _ = a.sign("root", a.cert)
	return a
}

// sign writes a certificate and its key. The first is the authority's own.
func (a *authority) sign(name string, c *x509.Certificate) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	if a.key == nil {
		a.key = k
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &k.PublicKey, a.key)
	must(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	must(a.t, err)
	cert, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	must(a.t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(a.t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

func (a *authority) server(name string, hosts ...string) (cert, key string) {
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	return a.sign(name, c)
}

// listen makes the server take TCP connections at an address that is returned, with the extra lines for pg_hba.conf.
func (s *server) listen(hba string, settings ...string) string {
	s.t.Helper()
	address := fmt.Sprintf("127.%d.%d.%d", 2+mathrand.IntN(250), mathrand.IntN(250), 1+mathrand.IntN(250))
	s.sql("postgres", "ALTER SYSTEM SET listen_addresses = '"+address+"'")
	for _, set := range settings {
		s.sql("postgres", "ALTER SYSTEM SET "+set)
	}
	f, err := os.OpenFile(filepath.Join(s.data, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	must(s.t, err)
	_, err = f.WriteString("\n" + hba + "\n")
	must(s.t, err)
	must(s.t, f.Close())
	s.stop()
	// The last line counts, and start appends one that listens nowhere.
	s.restart()
	return address
}

// install copies files into the data directory, for the server's user alone.
func (s *server) install(files map[string]string) {
	s.t.Helper()
	for name, from := range files {
		to := filepath.Join(s.data, name)
		text, err := os.ReadFile(from)
		must(s.t, err)
		must(s.t, os.WriteFile(to, text, 0o600))
		must(s.t, os.Chown(to, int(s.UID()), -1))
	}
}

// protection is what a pool's connection has: "", "TLS" or "TLS with a certificate".
func protection(d *DB) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var got string
	conn, err := d.reader.AcquireBest(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, `SELECT CASE WHEN client_dn IS NOT NULL THEN 'TLS with a certificate' WHEN ssl THEN 'TLS' ELSE '' END
		FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&got)
	return got, err
}

func TestTLS(t *testing.T) {
	s := newServer(t)
	good, foreign := newAuthority(t, "good"), newAuthority(t, "foreign")
	clientCert, clientKey := good.sign("client", &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "vault_service"}, NotAfter: time.Now().Add(time.Hour),
	})
	strangerCert, strangerKey := foreign.sign("client", &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "vault_service"}, NotAfter: time.Now().Add(time.Hour),
	})
	address := s.listen("host all all 127.0.0.0/8 trust")
	cert, key := good.server("server", address)
	otherCert, otherKey := good.server("other", "other.example", "127.0.0.1")
	type try struct {
		tls  TLS
		want string // protection, or in the error
	}
	check := func(t *testing.T, tries ...try) {
		t.Helper()
		for _, x := range tries {
			text, wrong := strings.CutPrefix(x.want, "error ")
			atOnce, timeout := strings.Contains(text, "certificate"), 3*time.Second
			if atOnce {
				timeout = time.Minute
			}
			d := s.openWith(func(c *Config) { c.TLS, c.RequestTimeout = x.tls, timeout }, address)
			got, err := protection(d)
			if wrong {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("%+v: %q, %v; want the error %s", x.tls, got, err, text)
				}
				startedAt := time.Now()
				code(t, d.CheckWriter(t.Context()), core.Unavailable)
				if atOnce && time.Since(startedAt) > 20*time.Second {
					t.Errorf("%+v: told after %s", x.tls, time.Since(startedAt))
				}
				continue
			}
			must(t, err)
			must(t, d.CheckWriter(t.Context()))
			if got != x.want {
				t.Errorf("%+v: %q, want %q", x.tls, got, x.want)
			}
		}
	}
	verify := TLS{Mode: VerifyFull, RootCert: good.file}
	t.Run("PlainServer", func(t *testing.T) {
		check(t, try{TLS{Mode: Disable}, ""}, try{TLS{Mode: Allow}, ""}, try{TLS{Mode: Prefer}, ""}, try{TLS{}, ""},
			try{TLS{Mode: Require}, "error refused TLS"}, try{verify, "error refused TLS"}, try{TLS{RootCert: good.file}, "error refused TLS"})
	})
	s.install(map[string]string{"server.crt": cert, "server.key": key, "root.crt": good.file})
	s.sql("postgres", "ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
	s.sql("postgres", "ALTER SYSTEM SET ssl = on")
	reload := func() {
		t.Helper()
		s.stop()
		s.restart()
	}
	reload()
	t.Run("GoodServer", func(t *testing.T) {
		check(t, try{TLS{Mode: Disable}, ""}, try{TLS{Mode: Allow}, ""}, try{TLS{Mode: Prefer}, "TLS"}, try{TLS{}, "TLS"},
			try{TLS{Mode: Require}, "TLS"}, try{TLS{Mode: VerifyCA, RootCert: good.file}, "TLS"}, try{verify, "TLS"},
			try{TLS{RootCert: good.file}, "TLS"}, // verify-full then
			try{TLS{Mode: VerifyFull, RootCert: good.file, Cert: clientCert, Key: clientKey}, "TLS with a certificate"},
			try{TLS{Mode: VerifyCA, RootCert: foreign.file}, "error certificate"},
			try{TLS{Mode: VerifyFull, RootCert: foreign.file}, "error certificate"},
			try{TLS{RootCert: foreign.file}, "error certificate"},
			try{TLS{Mode: VerifyFull, RootCert: "system"}, "error certificate"},
		)
	})
	t.Run("UnixSocket", func(t *testing.T) {
		d := s.openWith(func(c *Config) { c.TLS = verify }, s.dir)
		if got, err := protection(d); err != nil || got != "" {
			t.Errorf("%q %v", got, err)
		}
	})
	t.Run("ClientCertificate", func(t *testing.T) {
		text := "hostssl all all 127.0.0.0/8 cert\nlocal all all trust\n"
		must(t, os.WriteFile(filepath.Join(s.data, "pg_hba.conf"), []byte(text), 0o600))
		reload()
		check(t, try{TLS{Mode: VerifyFull, RootCert: good.file, Cert: clientCert, Key: clientKey}, "TLS with a certificate"},
			try{verify, "error SQLSTATE 28000"},
			try{TLS{Mode: VerifyFull, RootCert: good.file, Cert: strangerCert, Key: strangerKey}, "error "},
			try{TLS{Mode: Disable}, "error SQLSTATE 28000"})
	})
	t.Run("OtherServer", func(t *testing.T) {
		must(t, os.WriteFile(filepath.Join(s.data, "pg_hba.conf"), []byte("host all all 127.0.0.0/8 trust\nlocal all all trust\n"), 0o600))
		s.install(map[string]string{"server.crt": otherCert, "server.key": otherKey})
		reload()
		check(t, try{verify, "error certificate"}, try{TLS{RootCert: good.file}, "error certificate"},
			try{TLS{Mode: VerifyCA, RootCert: good.file}, "TLS"}, try{TLS{Mode: Require}, "TLS"})
	})
}

func TestTLSModeByDefault(t *testing.T) {
	for host, want := range map[string]Mode{
		"127.0.0.1": Prefer, "127.9.9.9": Prefer, "::1": Prefer, "localhost": Prefer, "/run/postgresql": Prefer,
		"10.0.0.1": Require, "db1": Require, "::": Require, "localhost.example": Require, "2001:db8::1": Require,
	} {
		if got := (TLS{}).modeFor(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
		if got := (TLS{RootCert: "x"}).modeFor(host); got != VerifyFull {
			t.Errorf("%s with a root certificate: %s", host, got)
		}
		if got := (TLS{Mode: Allow, RootCert: "x"}).modeFor(host); got != Allow {
			t.Errorf("%s: %s is not what was set", host, got)
		}
	}
}

// TestEnvironmentDoesNotWeakenTLS: libpq's variables set nothing that the settings do.
func TestEnvironmentDoesNotWeakenTLS(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("PGSSLMODE", "disable")
	t.Setenv("PGSSLROOTCERT", "/none")
	t.Setenv("PGSSLCERT", "/none")
	t.Setenv("PGSSLKEY", "/none")
	conn, err := config().connection("db1", nil)
	must(t, err)
	if conn.TLSConfig == nil || conn.TLSConfig.RootCAs != nil || conn.TLSConfig.Certificates != nil {
		t.Errorf("%+v", conn.TLSConfig)
	}
}
