package kms

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func randomLocal(t *testing.T) *Local {
	t.Helper()
	master := make([]byte, 32)
	_, _ = rand.Read(master)
	l, err := NewLocal(master)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestSuccession: each row is opened by the keeper it names, and by no other; new ones are the present keeper's.
func TestSuccession(t *testing.T) {
	present, s := startAWS(t, 0)
	old, other := randomLocal(t), randomLocal(t)
	k := NewSuccession(present, old)
	was := mustGenerate(t, old, ctxA)
	mustUnwrap(t, k, was, ctxA)
	if now := mustGenerate(t, k, ctxA); now.KeyID != present.KeyID() {
		t.Errorf("a new key under %s", now.KeyID)
	}
	foreign := mustGenerate(t, other, ctxA)
	_, err := k.Unwrap(t.Context(), foreign.WrappedKey, ctxA)
	wantErr(t, err, core.Denied, foreign)
	// A row of the present keeper that names the old one, and the other way round.
	_, err = k.Unwrap(t.Context(), vault.WrappedKey{KeyID: old.KeyID(), Wrapped: mustGenerate(t, k, ctxA).Wrapped}, ctxA)
	wantErr(t, err, core.Corrupt, was)
	_, err = k.Unwrap(t.Context(), vault.WrappedKey{KeyID: present.KeyID(), Wrapped: was.Wrapped}, ctxA)
	wantErr(t, err, core.Corrupt, was)

	to, err := k.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made, err := k.Rewrap(t.Context(), was.WrappedKey, to, ctxA)
	if err != nil || made.KeyID != to {
		t.Fatalf("%+v, %v", made, err)
	}
	plain, err := present.Unwrap(t.Context(), made, ctxA)
	if err != nil || !bytes.Equal(plain, was.Plain) {
		t.Errorf("another data key came out: %v", err)
	}
	_, err = k.Rewrap(t.Context(), was.WrappedKey, to, map[string]string{"other": "context"})
	wantErr(t, err, core.Corrupt, was)
	// KMS wraps something else than it was given: the old wrapped key stays.
	for _, wrong := range [][]byte{mustGenerate(t, present, ctxA).Wrapped, mustGenerate(t, old, ctxA).Wrapped} {
		s.Next(kmstest.Fault{Change: func(a map[string]any) { a["CiphertextBlob"] = wrong }})
		_, err = k.Rewrap(t.Context(), was.WrappedKey, to, ctxA)
		wantErr(t, err, core.Unavailable, was)
	}
	// The old keeper goes on while the present one is away.
	s.Stop()
	mustUnwrap(t, k, was, ctxA)
}

// TestAWSElsewhere: the old key may be of another region, and be used with a profile's credentials.
func TestAWSElsewhere(t *testing.T) {
	s, arn := startKMS(t)
	far := strings.Replace(arn, kmstest.Region, "us-east-1", 1)
	k := mustAWS(t, AWSConfig{KeyID: far, Elsewhere: true})
	if o := k.client.Options(); o.Region != "us-east-1" || o.BaseEndpoint != nil {
		t.Errorf("region %s, endpoint %v: the environment's endpoint is for another region", o.Region, o.BaseEndpoint)
	}
	if _, err := NewAWS(t.Context(), AWSConfig{KeyID: far, Elsewhere: true, Endpoint: "http://kms.example"}); core.CodeOf(err) != core.Invalid {
		t.Errorf("in the clear: %v", err)
	}
	file := filepath.Join(t.TempDir(), "config")
	text := "[profile old]\naws_access_key_id = " + kmstest.AccessKeyID + "\naws_secret_access_key = " + kmstest.SecretAccessKey + "\naws_session_token = " + kmstest.SessionToken + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOTHERACCOUNT")
	t.Setenv("AWS_ENDPOINT_URL_KMS", "")
	if err := mustAWS(t, AWSConfig{KeyID: arn, Endpoint: s.URL()}).Check(t.Context()); err == nil {
		t.Error("the fake KMS takes any credentials")
	}
	if err := mustAWS(t, AWSConfig{KeyID: arn, Profile: "old", Endpoint: s.URL(), Elsewhere: true}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}
