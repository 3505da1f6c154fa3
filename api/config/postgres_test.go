package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/config"
)

// pemFiles writes a certificate that signed itself, and its key.
func pemFiles(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	return cert, key
}

func write(t *testing.T, name string, text []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := pemFiles(t, dir, "a")
	other, _ := pemFiles(t, dir, "b")
	empty, open := filepath.Join(dir, "empty"), filepath.Join(dir, "open.key")
	write(t, empty, []byte("no PEM"), 0o600)
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, open, text, 0o644)
	for _, env := range [][]string{
		nil,
		{"VAULT_PG_SSLMODE=require"},
		{"VAULT_PG_SSLMODE=verify-full", "VAULT_PG_SSLROOTCERT=" + cert},
		{"VAULT_PG_SSLMODE=verify-ca", "VAULT_PG_SSLROOTCERT=" + cert},
		{"VAULT_PG_SSLMODE=verify-full", "VAULT_PG_SSLROOTCERT=system"},
		{"VAULT_PG_SSLROOTCERT=" + cert, "VAULT_PG_SSLCERT=" + cert, "VAULT_PG_SSLKEY=" + key},
	} {
		c, _ := mustLoad(t, with(env...))
		for _, kv := range env {
			if _, v, _ := strings.Cut(kv, "="); v != c.Postgres.TLS.Mode && v != c.Postgres.TLS.RootCert && v != c.Postgres.TLS.Cert && v != c.Postgres.TLS.Key {
				t.Errorf("%s is not in %+v", kv, c.Postgres.TLS)
			}
		}
		if _, _, err := config.LoadStore(with(env...)); err != nil {
			t.Errorf("%v for a command: %v", env, err)
		}
	}
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{"VAULT_PG_SSLMODE=yes"}, `VAULT_PG_SSLMODE="yes": want disable, allow, prefer, require, verify-ca or verify-full`},
		{[]string{"VAULT_PG_SSLMODE=verify-full"}, "VAULT_PG_SSLROOTCERT is not set: VAULT_PG_SSLMODE=verify-full needs"},
		{[]string{"VAULT_PG_SSLMODE=verify-ca"}, "VAULT_PG_SSLROOTCERT is not set: VAULT_PG_SSLMODE=verify-ca needs"},
		{[]string{"VAULT_PG_SSLMODE=require", "VAULT_PG_SSLROOTCERT=system"}, "VAULT_PG_SSLMODE=require: with VAULT_PG_SSLROOTCERT=system only verify-full"},
		{[]string{"VAULT_PG_SSLROOTCERT=root.crt"}, `VAULT_PG_SSLROOTCERT="root.crt": want the absolute path`},
		{[]string{"VAULT_PG_SSLROOTCERT=/none"}, `VAULT_PG_SSLROOTCERT="/none": no such file`},
		{[]string{"VAULT_PG_SSLROOTCERT=" + empty}, "no certificate is in it"},
		{[]string{"VAULT_PG_SSLCERT=" + cert}, "VAULT_PG_SSLKEY is not set"},
		{[]string{"VAULT_PG_SSLKEY=" + key}, "VAULT_PG_SSLCERT is not set"},
		{[]string{"VAULT_PG_SSLCERT=/none", "VAULT_PG_SSLKEY=" + key}, `VAULT_PG_SSLCERT="/none": no such file`},
		{[]string{"VAULT_PG_SSLCERT=" + cert, "VAULT_PG_SSLKEY=/none"}, `VAULT_PG_SSLKEY="/none": no such file`},
		{[]string{"VAULT_PG_SSLCERT=" + cert, "VAULT_PG_SSLKEY=" + dir}, "it is not a file"},
		{[]string{"VAULT_PG_SSLCERT=" + cert, "VAULT_PG_SSLKEY=" + open}, "others may use it: its mode is 0644"},
		{[]string{"VAULT_PG_SSLCERT=" + other, "VAULT_PG_SSLKEY=" + key}, "are not a certificate and its key"},
		{[]string{"VAULT_PG_SSLCERT=" + cert, "VAULT_PG_SSLKEY=" + empty}, "are not a certificate and its key"},
	} {
		for _, load := range []func(func() []string) (config.Config, []config.Warning, error){config.Load, config.LoadStore} {
			if _, _, err := load(with(tt.env...)); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("%v: %v", tt.env, err)
			}
		}
	}
	t.Run("ErrKeyItself", func(t *testing.T) {
		_, _, err := config.Load(with("VAULT_PG_SSLKEY=" + string(text)))
		if err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Error(err)
		}
	})
}

func TestPostgresTLSWarnings(t *testing.T) {
	cert, _ := pemFiles(t, t.TempDir(), "a")
	for _, tt := range []struct {
		env  []string
		want string // "" = no warning
	}{
		{[]string{"VAULT_PG_HOSTS=db1,10.0.0.2:5433"}, ""}, // TLS is required there
		{[]string{"VAULT_PG_HOSTS=db1", "VAULT_PG_SSLMODE=prefer"}, "VAULT_PG_SSLMODE=prefer: connections to db1 may be in the clear"},
		{[]string{"VAULT_PG_HOSTS=::1,10.0.0.2:5433", "VAULT_PG_SSLMODE=disable"}, "connections to 10.0.0.2:5433 may be"},
		{[]string{"VAULT_PG_HOSTS=db1", "VAULT_PG_SSLMODE=require"}, ""},
		{[]string{"VAULT_PG_HOSTS=/run/postgresql,127.9.9.9:1,[::1]:2,localhost,LOCALHOST:3", "VAULT_PG_SSLMODE=disable"}, ""},
		{[]string{"VAULT_PG_SSLMODE=disable", "VAULT_PG_SSLROOTCERT=" + cert}, "VAULT_PG_SSLROOTCERT is not used with VAULT_PG_SSLMODE=disable"},
	} {
		_, warnings := mustLoad(t, with(tt.env...))
		var got string
		for _, w := range warnings {
			if strings.HasPrefix(w.Name, "VAULT_PG_") {
				got += w.Text
			}
		}
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%v: %q", tt.env, got)
		}
	}
}

func TestWriteTimeout(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want time.Duration
	}{
		{nil, 30 * time.Second},
		{[]string{"VAULT_REQUEST_TIMEOUT_SECS=2"}, 6 * time.Second},
		{[]string{"VAULT_WRITE_TIMEOUT_SECS=10"}, 10 * time.Second},
		{[]string{"VAULT_WRITE_TIMEOUT_SECS=60", "VAULT_REQUEST_TIMEOUT_SECS=60"}, time.Minute},
	} {
		if c, _ := mustLoad(t, with(tt.env...)); c.WriteTimeout != tt.want {
			t.Errorf("%v: %s", tt.env, c.WriteTimeout)
		}
	}
	_, _, err := config.Load(with("VAULT_WRITE_TIMEOUT_SECS=9"))
	if want := `VAULT_WRITE_TIMEOUT_SECS="9": want at least VAULT_REQUEST_TIMEOUT_SECS, which is 10: a change includes reads`; err == nil || err.Error() != want {
		t.Error(err)
	}
}
