package kmstest_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctxA = map[string]string{"a": "1", "b": "2"}
	ctxB = map[string]string{"a": "1", "b": "3"}
)

type bench struct {
	*kmstest.Server
	*kms.Client
	key string
}

func start(t *testing.T, change ...func(*kms.Options)) bench {
	t.Helper()
	s, err := kmstest.New()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	o := kms.Options{
		Region: kmstest.Region, BaseEndpoint: aws.String(s.URL()), RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(kmstest.AccessKeyID, kmstest.SecretAccessKey, kmstest.SessionToken),
	}
	for _, f := range change {
		f(&o)
	}
	t.Cleanup(func() { transport.CloseIdleConnections(); s.Close() })
	return bench{s, kms.New(o), s.CreateKey()}
}

func (b bench) generate(t *testing.T, key string, context map[string]string) *kms.GenerateDataKeyOutput {
	t.Helper()
	out, err := b.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256, EncryptionContext: context})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Plaintext) != 32 || aws.ToString(out.KeyId) != b.key || bytes.Contains(out.CiphertextBlob, out.Plaintext) {
		t.Fatalf("%d bytes of %s", len(out.Plaintext), aws.ToString(out.KeyId))
	}
	return out
}

func decrypt(t *testing.T, b bench, key string, blob []byte, context map[string]string) (*kms.DecryptOutput, error) {
	in := &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context}
	if key != "" {
		in.KeyId = &key
	}
	return b.Decrypt(t.Context(), in)
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// TestUnknown: what this server does not do it says so, and the SDK knows the codes as its own types.
func TestUnknown(t *testing.T) {
	b := start(t)
	_, err := b.ListKeys(t.Context(), &kms.ListKeysInput{})
	wantCode(t, err, "UnknownOperationException")
	_, err = b.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/none")})
	if _, ok := errors.AsType[*types.NotFoundException](err); !ok {
		t.Errorf("not the SDK's type: %v", err)
	}
}

// TestCalls: what was asked is noted as it was asked.
func TestCalls(t *testing.T) {
	b := start(t)
	b.generate(t, b.key, ctxA)
	if c := b.TakeCalls(); len(c) != 1 || c[0].Op != "GenerateDataKey" || c[0].KeyID != b.key || c[0].Context["b"] != "2" || c[0].Code != "" {
		t.Errorf("noted %+v", c)
	}
	if n := len(b.Calls("GenerateDataKey")); n != 0 {
		t.Errorf("%d calls after they were taken", n)
	}
}

func TestSignature(t *testing.T) {
	signedBy := func(id, secret, session string) func(*kms.Options) {
		return func(o *kms.Options) { o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, session) }
	}
	try := func(name, code string, change func(*kms.Options)) {
		t.Run(name, func(t *testing.T) {
			b := start(t, change)
			_, err := b.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &b.key})
			wantCode(t, err, code)
		})
	}
	try("ErrSecret", "InvalidSignatureException", signedBy(kmstest.AccessKeyID, "another secret", kmstest.SessionToken))
	try("ErrKey", "UnrecognizedClientException", signedBy("AKIAOTHER", kmstest.SecretAccessKey, kmstest.SessionToken))
	try("ErrSession", "UnrecognizedClientException", signedBy(kmstest.AccessKeyID, kmstest.SecretAccessKey, ""))
	try("ErrRegion", "InvalidSignatureException", func(o *kms.Options) { o.Region = "us-east-1" })
	try("ErrAnonymous", "MissingAuthenticationTokenException", func(o *kms.Options) { o.Credentials = aws.AnonymousCredentials{} })
	try("ErrBodyChanged", "InvalidSignatureException", func(o *kms.Options) { o.HTTPClient = changer{o.HTTPClient} })
}

// changer signs one body and sends another of the same length.
type changer struct{ inner kms.HTTPClient }

func (c changer) Do(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Body = http.NoBody
	body := bytes.Repeat([]byte("x"), int(r.ContentLength))
	r.Body = readCloser{bytes.NewReader(body)}
	return c.inner.Do(r)
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func TestFaults(t *testing.T) {
	b := start(t)
	k := b.generate(t, b.key, ctxA)
	dec := func(wait time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		_, err := b.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: k.CiphertextBlob, EncryptionContext: ctxA})
		return err
	}
	const long, short = 10 * time.Second, 100 * time.Millisecond
	b.Next(kmstest.Throttled, kmstest.Broken, kmstest.KeyAway, kmstest.Refused)
	for _, code := range []string{"ThrottlingException", "KMSInternalException", "KeyUnavailableException", "AccessDeniedException"} {
		wantCode(t, dec(long), code)
	}
	if err := dec(long); err != nil {
		t.Fatalf("after the faults: %v", err)
	}
	for _, f := range []kmstest.Fault{kmstest.BadGateway, kmstest.Resetting, kmstest.Malformed} {
		b.Next(f)
		if err := dec(long); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	b.Always(kmstest.Hanging)
	if err := dec(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging: %v", err)
	}
	// Once the head of an answer is there the SDK closes the request's body. Where the transport has not seen its end
	// yet, it then closes the connection, so half an answer may be an error at once instead of one at the deadline.
	b.Always(kmstest.Trickling)
	if err := dec(short); err == nil {
		t.Error("half an answer was accepted as one")
	}
	b.Always()
	b.Next(kmstest.Fault{Op: "Encrypt", Reset: true}, kmstest.Fault{Change: func(a map[string]any) { a["KeyId"] = "other" }})
	out, err := decrypt(t, b, "", k.CiphertextBlob, ctxA)
	if err != nil || aws.ToString(out.KeyId) != "other" {
		t.Errorf("a changed answer: %v", err)
	}
	b.Stop()
	b.Stop()
	// The first try may still meet the connection that was open, the second finds none.
	if err := dec(long); err == nil {
		t.Error("answered although stopped")
	}
	if err := dec(long); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("stopped: %v", err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	if err := dec(long); err != nil {
		t.Errorf("started again: %v", err)
	}
}
