package kms

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// startKMS starts a fake KMS and points the SDK's environment at it.
func startKMS(t testing.TB) (*kmstest.Server, string) {
	t.Helper()
	s, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for k, v := range s.Environ() {
		t.Setenv(k, v)
	}
	return s, s.CreateKey()
}

// startAWS returns a keeper on the one key of a new fake KMS.
func startAWS(t testing.TB, retries int) (*AWS, *kmstest.Server) {
	t.Helper()
	s, arn := startKMS(t)
	return mustAWS(t, AWSConfig{KeyID: arn, MaxRetries: retries}), s
}

func mustAWS(t testing.TB, c AWSConfig) *AWS {
	t.Helper()
	k, err := NewAWS(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func TestNewAWS(t *testing.T) {
	_, arn := startKMS(t)
	refuse := func(name string, c AWSConfig, text string) {
		t.Run(name, func(t *testing.T) {
			_, err := NewAWS(t.Context(), c)
			if core.CodeOf(err) != core.Invalid || !strings.Contains(err.Error(), text) {
				t.Errorf("%v", err)
			}
		})
	}
	refuse("ErrNoKey", AWSConfig{}, "needs a key id")
	refuse("ErrRetries", AWSConfig{KeyID: arn, MaxRetries: -1}, "retries")
	refuse("ErrService", AWSConfig{KeyID: "arn:aws:s3:eu-test-1:123456789012:key/x"}, "not of AWS KMS")
	refuse("ErrRegion", AWSConfig{KeyID: strings.Replace(arn, kmstest.Region, "us-east-1", 1)}, `key of region "us-east-1", but the region is set to "eu-test-1"`)
	t.Setenv("AWS_REGION", "")
	refuse("ErrNoRegion", AWSConfig{KeyID: "alias/x"}, "no AWS region is set: set AWS_REGION")
	t.Run("RegionOfTheKey", func(t *testing.T) {
		if err := mustAWS(t, AWSConfig{KeyID: arn}).Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestAWSKeyNames: whatever the key is configured by, versions record its ARN, and old ones open after a change.
func TestAWSKeyNames(t *testing.T) {
	s, arn := startKMS(t)
	s.SetAlias("alias/vault", arn)
	id := arn[strings.LastIndex(arn, "/")+1:]
	var made []vault.DataKey
	for _, name := range []string{arn, id, "alias/vault", strings.Replace(arn, "key/"+id, "alias/vault", 1)} {
		k := mustAWS(t, AWSConfig{KeyID: name})
		key := mustGenerate(t, k, ctxA)
		if key.KeyID != arn {
			t.Errorf("configured as %s, recorded as %s", name, key.KeyID)
		}
		if got, err := k.Current(t.Context()); err != nil || got != arn {
			t.Errorf("current key of %s: %s, %v", name, got, err)
		}
		made = append(made, key)
	}
	next := s.CreateKey()
	k := mustAWS(t, AWSConfig{KeyID: next})
	for _, key := range made {
		mustUnwrap(t, k, key, ctxA)
	}
	if key := mustGenerate(t, k, ctxA); key.KeyID != next {
		t.Errorf("new versions are under %s", key.KeyID)
	}
	for _, c := range s.Calls("Decrypt") {
		if c.KeyID != arn || len(c.Context) != 2 {
			t.Errorf("a Decrypt that does not say which key and context: %+v", c)
		}
	}
}

func TestAWSErrors(t *testing.T) {
	k, s := startAWS(t, 0)
	key := mustGenerate(t, k, ctxA)
	meets := func(name string, f kmstest.Fault, code core.Code, text string) {
		t.Run(name, func(t *testing.T) {
			s.Always(f)
			defer s.Always()
			_, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
			wantErr(t, err, code, key)
			if !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), key.KeyID) || !strings.Contains(err.Error(), "Decrypt") {
				t.Errorf("the operator reads: %v", err)
			}
			g, err := k.Generate(t.Context(), ctxA)
			if code != core.Corrupt && (core.CodeOf(err) != code || g.Plain != nil) {
				t.Errorf("Generate: %d bytes, %v", len(g.Plain), err)
			}
		})
	}
	answer := func(code string) kmstest.Fault { return kmstest.Fault{Status: 400, Code: code, Message: "m"} }
	change := func(f func(map[string]any)) kmstest.Fault { return kmstest.Fault{Change: f} }
	meets("ErrThrottled", kmstest.Throttled, core.Unavailable, "throttling")
	meets("ErrInternal", kmstest.Broken, core.Unavailable, "KMSInternalException")
	meets("ErrBadGateway", kmstest.BadGateway, core.Unavailable, "HTTP status 502")
	meets("ErrKeyAway", kmstest.KeyAway, core.Unavailable, "KeyUnavailableException")
	meets("ErrRefused", kmstest.Refused, core.Denied, "role/vault is not authorized")
	meets("ErrExpiredLogin", kmstest.ExpiredLogin, core.Unavailable, "renew the AWS credentials")
	meets("ErrDisabled", answer("DisabledException"), core.Unavailable, "enable the key")
	meets("ErrInvalidState", answer("KMSInvalidStateException"), core.Unavailable, "cancel its deletion")
	meets("ErrNotFound", answer("NotFoundException"), core.Unavailable, "check VAULT_KMS_KEY_ID and AWS_REGION")
	meets("ErrKeyUsage", answer("InvalidKeyUsageException"), core.Unavailable, "symmetric")
	meets("ErrCiphertext", answer("InvalidCiphertextException"), core.Corrupt, "damaged or belongs to another secret")
	meets("ErrIncorrectKey", answer("IncorrectKeyException"), core.Corrupt, "not of the key it claims")
	meets("ErrUnheardOf", answer("BrandNewException"), core.Unavailable, "BrandNewException")
	meets("ErrMalformed", kmstest.Malformed, core.Unavailable, "HTTP status 200 with an answer that is not KMS's")
	meets("ErrEmpty", kmstest.Empty, core.Unavailable, "false answer")
	meets("ErrReset", kmstest.Resetting, core.Unavailable, "connection broke")
	meets("ErrKeyID", change(func(a map[string]any) { a["KeyId"] = strings.Replace(key.KeyID, "key/", "key/0", 1) }), core.Unavailable, "false answer")
	meets("ErrShortKey", change(func(a map[string]any) { a["Plaintext"] = make([]byte, 31) }), core.Unavailable, "false answer")
	meets("ErrLongKey", change(func(a map[string]any) { a["Plaintext"] = make([]byte, 64) }), core.Unavailable, "false answer")
	meets("ErrNoKey", change(func(a map[string]any) { delete(a, "Plaintext") }), core.Unavailable, "false answer")
	meets("ErrNotBase64", change(func(a map[string]any) { a["Plaintext"] = "***" }), core.Unavailable, "not KMS's")
	meets("ErrHuge", kmstest.Fault{Body: `{"KeyId":"` + strings.Repeat("x", 1<<20) + `"}`}, core.Unavailable, "not KMS's")
	t.Run("OK", func(t *testing.T) { mustUnwrap(t, k, key, ctxA) })
}

// TestAWSInvalidState: KMSInvalidStateException is no only when a person has put the key out of use. A custom key store
// that fails says the same.
func TestAWSInvalidState(t *testing.T) {
	k, s := startAWS(t, 0)
	key := mustGenerate(t, k, ctxA)
	says := func(name string, want verdict, f ...kmstest.Fault) {
		t.Helper()
		s.Always(append([]kmstest.Fault{{Op: "Decrypt", Status: 400, Code: "KMSInvalidStateException", Message: "the key store did not answer"}}, f...)...)
		_, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
		wantErr(t, err, core.Unavailable, key)
		if got := verdictOf(err); got != want || !strings.Contains(err.Error(), "key store") {
			t.Errorf("%s: %d, want %d; %v", name, got, want, err)
		}
	}
	says("enabled", unsure)
	says("not told", unsure, kmstest.Fault{Op: "DescribeKey", Status: 400, Code: "AccessDeniedException"})
	says("key store away", unsure, kmstest.Fault{Op: "DescribeKey", Change: func(a map[string]any) { a["KeyMetadata"].(map[string]any)["KeyState"] = "Unavailable" }})
	for _, state := range []kmstest.State{kmstest.Disabled, kmstest.PendingDeletion} {
		s.SetState(key.KeyID, state)
		says(string(state), no)
		says("of another key", unsure, kmstest.Fault{Op: "DescribeKey", Change: func(a map[string]any) {
			a["KeyMetadata"].(map[string]any)["Arn"] = strings.Replace(key.KeyID, "key/", "key/0", 1)
		}})
	}
}

// TestAWSSignatureError: AWS's message about a wrong signature repeats the session token; ours does not.
func TestAWSSignatureError(t *testing.T) {
	s, arn := startKMS(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	k := mustAWS(t, AWSConfig{KeyID: arn})
	_, err := k.Generate(t.Context(), ctxA)
	wantErr(t, err, core.Unavailable, vault.DataKey{})
	if !strings.Contains(err.Error(), "InvalidSignatureException") {
		t.Errorf("the operator reads: %v", err)
	}
	if c := s.Calls(""); len(c) == 0 || c[0].Code != "InvalidSignatureException" {
		t.Errorf("the server saw %+v", c)
	}
}

func TestAWSNoCredentials(t *testing.T) {
	_, arn := startKMS(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	_, err := mustAWS(t, AWSConfig{KeyID: arn}).Generate(t.Context(), ctxA)
	wantErr(t, err, core.Unavailable, vault.DataKey{})
	if !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("the operator reads: %v", err)
	}
}

func TestAWSRefusesForeignKeys(t *testing.T) {
	k, s := startAWS(t, 0)
	key := mustGenerate(t, k, ctxA)
	s.TakeCalls()
	local := mustGenerate(t, mustLocal(t, testMaster(1)), ctxA)
	_, err := k.Unwrap(t.Context(), local.WrappedKey, ctxA)
	wantErr(t, err, core.Denied, local)
	if !strings.Contains(err.Error(), local.KeyID) {
		t.Errorf("the operator reads: %v", err)
	}
	for _, id := range []string{"", "x", "alias/x", "arn:aws:kms:::key/x", "arn:aws:s3:r:a:key/x", key.KeyID + "\n", strings.Repeat("a", 3000)} {
		_, err := k.Unwrap(t.Context(), vault.WrappedKey{KeyID: id, Wrapped: key.Wrapped}, ctxA)
		wantErr(t, err, core.Corrupt, key)
	}
	for _, wrapped := range [][]byte{nil, make([]byte, maxBlob+1)} {
		_, err := k.Unwrap(t.Context(), vault.WrappedKey{KeyID: key.KeyID, Wrapped: wrapped}, ctxA)
		wantErr(t, err, core.Corrupt, key)
	}
	if n := len(s.TakeCalls()); n != 0 {
		t.Errorf("%d calls for what needs none", n)
	}
	// Another key of ours, named by an edited row: KMS itself refuses.
	_, err = k.Unwrap(t.Context(), vault.WrappedKey{KeyID: s.CreateKey(), Wrapped: key.Wrapped}, ctxA)
	wantErr(t, err, core.Corrupt, key)
}

func TestAWSCheck(t *testing.T) {
	k, s := startAWS(t, 0)
	arn := mustGenerate(t, k, ctxA).KeyID
	for state, text := range map[kmstest.State]string{kmstest.Disabled: "Disabled", kmstest.PendingDeletion: "PendingDeletion"} {
		s.SetState(arn, state)
		if err := k.Check(t.Context()); core.CodeOf(err) != core.Unavailable || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", state, err)
		}
	}
	s.SetState(arn, kmstest.Enabled)
	s.Always(kmstest.Fault{Change: func(a map[string]any) { a["KeyMetadata"].(map[string]any)["KeySpec"] = "RSA_2048" }})
	if err := k.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "symmetric") {
		t.Errorf("an RSA key: %v", err)
	}
	s.Stop()
	if err := k.Check(t.Context()); core.CodeOf(err) != core.Unavailable {
		t.Errorf("stopped: %v", err)
	}
}

// TestAWSRetries counts attempts: the setting is of retries, and 0 means none.
func TestAWSRetries(t *testing.T) {
	for _, retries := range []int{0, 1, 3} {
		k, s := startAWS(t, retries)
		key := mustGenerate(t, k, ctxA)
		s.TakeCalls()
		s.Always(kmstest.Broken)
		_, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
		wantErr(t, err, core.Unavailable, key)
		if n := len(s.TakeCalls()); n != retries+1 {
			t.Errorf("%d retries: %d attempts", retries, n)
		}
		s.Always()
		for range retries {
			s.Next(kmstest.Broken)
		}
		mustUnwrap(t, k, key, ctxA)
	}
	t.Run("ErrNotWorthARetry", func(t *testing.T) {
		k, s := startAWS(t, 3)
		key := mustGenerate(t, k, ctxA)
		s.TakeCalls()
		s.Always(kmstest.Refused)
		_, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
		wantErr(t, err, core.Denied, key)
		if n := len(s.TakeCalls()); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// TestAWSProxyAway: the operator reads that it is the proxy, and nothing of its login.
func TestAWSProxyAway(t *testing.T) {
	away, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := away.Addr().String()
	_ = away.Close()
	// The SDK's own client looks for a proxy once a process, and never for what is on this machine.
	c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: addr, User: url.UserPassword("user", "canary")})}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://kms.invalid", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, cause := c.Do(req)
	if cause == nil {
		_ = resp.Body.Close()
		t.Fatal("something answers there")
	}
	err = new(AWS).explain(t.Context(), "Decrypt", "k", cause)
	wantErr(t, err, core.Unavailable, vault.DataKey{})
	if !strings.Contains(err.Error(), "the proxy of HTTPS_PROXY cannot be reached: dial tcp "+addr) || strings.Contains(err.Error(), "canary") {
		t.Errorf("the operator reads: %v", err)
	}
}

// TestAWSDeadline: whatever KMS does, a call ends with its context, and says so.
func TestAWSDeadline(t *testing.T) {
	k, s := startAWS(t, 5)
	key := mustGenerate(t, k, ctxA)
	for name, f := range map[string]kmstest.Fault{
		"hanging": kmstest.Hanging, "trickling": kmstest.Trickling, "throttling": kmstest.Throttled, "broken": kmstest.Broken,
	} {
		t.Run(name, func(t *testing.T) {
			s.Always(f)
			defer s.Always()
			startedAt := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := k.Unwrap(ctx, key.WrappedKey, ctxA)
			wantErr(t, err, core.Unavailable, key)
			if took := time.Since(startedAt); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestAWSAttemptTimeout: one attempt that hangs does not eat the time of the next.
func TestAWSAttemptTimeout(t *testing.T) {
	s, arn := startKMS(t)
	k := mustAWS(t, AWSConfig{KeyID: arn, MaxRetries: 2, AttemptTimeout: 100 * time.Millisecond})
	key := mustGenerate(t, k, ctxA)
	for _, f := range []kmstest.Fault{kmstest.Hanging, kmstest.Trickling} {
		s.Next(f)
		mustUnwrap(t, k, key, ctxA)
	}
	s.Always(kmstest.Hanging)
	_, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
	wantErr(t, err, core.Unavailable, key)
	if !strings.Contains(err.Error(), "no whole answer in the time of one attempt") {
		t.Errorf("the operator reads: %v", err)
	}
}
