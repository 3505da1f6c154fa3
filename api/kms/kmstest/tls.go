package kmstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// Cert describes the certificate of a Server that speaks TLS. The zero Cert is valid.
type Cert struct {
	IP      string // the address that it is for; "" = 127.0.0.1, where the server listens
	Expired bool
	// MaxVersion is the newest version of TLS that the server speaks; 0 = the newest there is.
	MaxVersion uint16
}

// NewTLS returns a Server that speaks TLS, and the certificate of its own authority as PEM. A client without that
// certificate does not trust the server. The caller closes the Server.
func NewTLS(c Cert) (s *Server, authority []byte, err error) {
	if c.IP == "" {
		c.IP = "127.0.0.1"
	}
	conf, authority, err := c.issue()
	if err != nil {
		return nil, nil, err
	}
	s, err = listen(conf)
	return s, authority, err
}

func (c Cert) issue() (*tls.Config, []byte, error) {
	ca, caKey, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "kmstest"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	leaf := &x509.Certificate{
		IPAddresses: []net.IP{net.ParseIP(c.IP)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if c.Expired {
		leaf.NotAfter = time.Now().Add(-time.Minute)
	}
	leaf, key, err := sign(leaf, ca, caKey)
	if err != nil {
		return nil, nil, err
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS10, MaxVersion: c.MaxVersion, NextProtos: []string{"http/1.1"},
	}
	return conf, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), nil
}

// sign makes a certificate with a new key; without a parent it signs itself.
func sign(c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	c.SerialNumber = new(big.Int).SetBytes(random(8))
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	made, err := x509.ParseCertificate(raw)
	return made, key, err
}
