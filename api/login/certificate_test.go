package login

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  any
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := edKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: t0.Add(-time.Hour), NotAfter: t0.Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key}
}

func (a *authority) issue(change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key := edKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1234), NotBefore: t0.Add(-time.Hour), NotAfter: t0.Add(time.Hour),
		Subject:     pkix.Name{CommonName: "web.shop.example", OrganizationalUnit: []string{"shop"}},
		DNSNames:    []string{"web.shop.example", "web"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, EmailAddresses: []string{"web@shop.example"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "shop", Path: "/web"}},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestCertificate(t *testing.T) {
	ca := newAuthority(t, "CA")
	leaf := ca.issue(nil).Leaf
	colons := strings.ToUpper(fingerprint(leaf))
	var spaced []string
	for i := 0; i < len(colons); i += 2 {
		spaced = append(spaced, colons[i:i+2])
	}
	for name, c := range map[string]struct {
		role map[string]any
		leaf *x509.Certificate
		at   time.Duration
		good bool
	}{
		"CommonName":           {map[string]any{"allowed_common_names": []string{"web.shop.example"}}, leaf, 0, true},
		"CommonNameGlob":       {map[string]any{"allowed_common_names": []string{"x", "*.shop.example"}}, leaf, 0, true},
		"ErrCommonName":        {map[string]any{"allowed_common_names": []string{"web"}}, leaf, 0, false},
		"DNS":                  {map[string]any{"allowed_dns_sans": []string{"WEB"}}, leaf, 0, true},
		"ErrDNS":               {map[string]any{"allowed_dns_sans": []string{"web2"}}, leaf, 0, false},
		"URI":                  {map[string]any{"allowed_uri_sans": []string{"spiffe://shop/*"}}, leaf, 0, true},
		"ErrURI":               {map[string]any{"allowed_uri_sans": []string{"spiffe://other/*"}}, leaf, 0, false},
		"Email":                {map[string]any{"allowed_email_sans": []string{"*@shop.example"}}, leaf, 0, true},
		"ErrEmail":             {map[string]any{"allowed_email_sans": []string{"*@example"}}, leaf, 0, false},
		"Unit":                 {map[string]any{"allowed_organizational_units": []string{"shop"}}, leaf, 0, true},
		"ErrUnit":              {map[string]any{"allowed_organizational_units": []string{"ops"}}, leaf, 0, false},
		"Fingerprint":          {map[string]any{"allowed_fingerprints": []string{fingerprint(leaf)}}, leaf, 0, true},
		"FingerprintOfOpenSSL": {map[string]any{"allowed_fingerprints": []string{strings.Join(spaced, ":")}}, leaf, 0, true},
		"ErrFingerprint":       {map[string]any{"allowed_fingerprints": []string{strings.Repeat("00", 32)}}, leaf, 0, false},
		"Both":                 {map[string]any{"allowed_common_names": []string{"web.shop.example"}, "allowed_dns_sans": []string{"web"}}, leaf, 0, true},
		"ErrOneOfBoth":         {map[string]any{"allowed_common_names": []string{"web.shop.example"}, "allowed_dns_sans": []string{"x"}}, leaf, 0, false},
		"ErrNone":              {map[string]any{"allowed_common_names": []string{"web.shop.example"}}, nil, 0, false},
		"ErrExpired":           {map[string]any{"allowed_common_names": []string{"web.shop.example"}}, leaf, time.Hour + time.Second, false},
		"ErrNotYetValid":       {map[string]any{"allowed_common_names": []string{"web.shop.example"}}, leaf, -time.Hour - time.Second, false},
		"ErrNoCommonName": {map[string]any{"allowed_common_names": []string{"a*"}},
			ca.issue(func(c *x509.Certificate) { c.Subject.CommonName = "" }).Leaf, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			clock.advance(c.at)
			who, err := New(Config{Clock: clock.now}).Certificate(vault.LoginMethod{}, roleOf(t, c.role), c.leaf)
			want := vault.CauseLoginCertificate
			if c.good {
				want = ""
			}
			if got := causeOf(t, err); got != want {
				t.Fatalf("cause is %q, want %q", got, want)
			}
			if c.good && (who.Name != "web.shop.example" || who.Metadata["serial_number"] != "1234") {
				t.Errorf("logged in as %+v", who)
			}
		})
	}
}

// The listener is what refuses certificates of other authorities: a role never sees them.
func TestCertificateOfWrongCA(t *testing.T) {
	ours, theirs := newAuthority(t, "CA"), newAuthority(t, "CA")
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	handshake := func(client tls.Certificate, at time.Time) error {
		a, b := net.Pipe()
		defer func() { _, _ = a.Close(), b.Close() }()
		now := func() time.Time { return at }
		go func() {
			c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, Time: now, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil }})
			_ = c.Handshake()
			_, _ = c.Read(make([]byte, 1))
		}()
		return tls.Server(a, &tls.Config{
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool, Certificates: []tls.Certificate{ours.issue(nil)}, Time: now,
		}).Handshake()
	}
	if err := handshake(ours.issue(nil), t0); err != nil {
		t.Fatal(err)
	}
	if err := handshake(theirs.issue(nil), t0); err == nil {
		t.Error("a certificate of another authority of the same name is let in")
	}
	if err := handshake(ours.issue(nil), t0.Add(2*time.Hour)); err == nil {
		t.Error("an expired certificate is let in")
	}
	server := ours.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	if err := handshake(server, t0); err == nil {
		t.Error("a server's certificate is let in")
	}
}
