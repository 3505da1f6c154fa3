package kms

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// startTLS starts a fake KMS that speaks TLS and points the SDK's environment at it, with its authority if trust.
func startTLS(t *testing.T, c kmstest.Cert, trust bool) (*AWS, *kmstest.Server) {
	t.Helper()
	s, authority, err := kmstest.NewTLS(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for k, v := range s.Environ() {
		t.Setenv(k, v)
	}
	if trust {
		bundle := filepath.Join(t.TempDir(), "authority.pem")
		if err := os.WriteFile(bundle, authority, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_CA_BUNDLE", bundle)
	}
	return mustAWS(t, AWSConfig{KeyID: s.CreateKey()}), s
}

// TestAWSTLS: KMS is spoken to over TLS of today, with the machine's authorities or those of AWS_CA_BUNDLE, and nothing
// is sent to a server that does not prove who it is.
func TestAWSTLS(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		k, s := startTLS(t, kmstest.Cert{}, true)
		mustUnwrap(t, k, mustGenerate(t, k, ctxA), ctxA)
		if err := k.Check(t.Context()); err != nil {
			t.Error(err)
		}
		s.Next(kmstest.Resetting)
		_, err := k.Generate(t.Context(), ctxA)
		wantErr(t, err, core.Unavailable, vault.DataKey{})
	})
	refuse := func(name string, c kmstest.Cert, trust bool, text string) {
		t.Run(name, func(t *testing.T) {
			k, s := startTLS(t, c, trust)
			_, err := k.Generate(t.Context(), ctxA)
			wantErr(t, err, core.Unavailable, vault.DataKey{})
			if !strings.Contains(err.Error(), text) {
				t.Errorf("the operator reads: %v", err)
			}
			if n := len(s.TakeCalls()); n != 0 {
				t.Errorf("%d requests were sent all the same", n)
			}
		})
	}
	refuse("ErrAuthority", kmstest.Cert{}, false, "its TLS certificate is not trusted: it is of an unknown authority")
	refuse("ErrHost", kmstest.Cert{IP: "127.0.0.2"}, true, "its TLS certificate is not trusted: it is for another name")
	refuse("ErrExpired", kmstest.Cert{Expired: true}, true, "its TLS certificate is not trusted: it has expired")
	refuse("ErrOldTLS", kmstest.Cert{MaxVersion: tls.VersionTLS11}, true, "cannot be reached")
	t.Run("ErrBundle", func(t *testing.T) {
		_, arn := startKMS(t)
		t.Setenv("AWS_CA_BUNDLE", "/nonexistent")
		if _, err := NewAWS(t.Context(), AWSConfig{KeyID: arn}); core.CodeOf(err) != core.Invalid {
			t.Errorf("%v", err)
		}
	})
}

// TestAWSEndpoint: answers hold data keys, so nothing but TLS leaves this machine.
func TestAWSEndpoint(t *testing.T) {
	_, arn := startKMS(t)
	try := func(endpoint string, ok bool) {
		t.Helper()
		t.Setenv("AWS_ENDPOINT_URL_KMS", endpoint)
		k, err := NewAWS(t.Context(), AWSConfig{KeyID: arn})
		if err == nil {
			_ = k.Close()
		}
		if ok != (err == nil) || !ok && (core.CodeOf(err) != core.Invalid || !strings.Contains(err.Error(), "AWS_ENDPOINT_URL_KMS")) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	for _, e := range []string{"", "https://vpce-1.kms.eu-test-1.vpce.amazonaws.com", "http://127.0.0.1:4566", "http://127.8.8.8", "http://[::1]:1", "http://localhost:1"} {
		try(e, true)
	}
	for _, e := range []string{
		"http://kms.eu-test-1.amazonaws.com", "http://10.0.0.7:4566", "HTTP://localstack:4566", "http://localhost.example.com",
		"http://127.0.0.1.example.com", "http://[::]:1", "http://0.0.0.0:1", "http://",
	} {
		try(e, false)
	}
	t.Setenv("AWS_ENDPOINT_URL_KMS", "")
	t.Setenv("AWS_ENDPOINT_URL", "http://10.0.0.7")
	if _, err := NewAWS(t.Context(), AWSConfig{KeyID: arn}); core.CodeOf(err) != core.Invalid {
		t.Errorf("AWS_ENDPOINT_URL: %v", err)
	}
}
