package kms

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go/logging"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// defaultAttempt bounds one HTTP exchange, so that one dead connection does not eat the whole request's time.
	defaultAttempt = 3 * time.Second
	// maxAnswer bounds the bytes read of one answer; the longest right one is a tenth of it.
	maxAnswer = 64 << 10
	// maxARN and maxBlob are the limits of AWS for what it names and returns.
	maxARN  = 2048
	maxBlob = 6144
)

// AWSConfig says which key of AWS KMS to use. Region, endpoint and credentials come from the SDK's own variables and
// files (AWS_REGION, AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL, AWS_PROFILE, web identity, container, instance role).
type AWSConfig struct {
	// KeyID is a key id, key ARN, alias ("alias/x") or alias ARN. Required. An ARN also gives the region when nothing
	// else does.
	KeyID string
	// MaxRetries is how often a failed call is retried by the SDK's standard retryer, with exponential backoff,
	// jitter and a budget shared by all calls. Retries always stay within the call's context. 0 = never.
	MaxRetries int
	// AttemptTimeout bounds one attempt; 0 = 3 s.
	AttemptTimeout time.Duration
	// Profile names a profile of the SDK's shared files. Its credentials take precedence over the environment. "" = the
	// SDK's default search.
	Profile string
	// Endpoint is the URL of KMS. "" = the SDK's endpoint, which must be for the key's region.
	Endpoint string
	// Elsewhere allows the region of the key's ARN to differ from the SDK's region. An endpoint of the environment is
	// then not used, because it is for the SDK's region.
	Elsewhere bool
	// Silent, if not nil, is called with the cause when KMS is considered unavailable, and with nil when it answers
	// again. It must not block.
	Silent func(why error)
}

// AWS makes data keys with AWS KMS and has KMS unwrap them. The SDK and TLS copy plain keys into buffers that no code
// can wipe, so the process must not dump its memory. Safe for concurrent use.
type AWS struct {
	keyID   string
	client  *awskms.Client
	breaker *breaker
	idle    interface{ CloseIdleConnections() } // nil when the HTTP client keeps none
}

var _ vault.Rewrapper = (*AWS)(nil)

// NewAWS returns a keeper. It reads the SDK's settings and does not call AWS, because an unavailable KMS must not
// keep a process from starting. The error is core.Invalid when a setting cannot be used, with a text for the
// operator. The caller closes the keeper.
func NewAWS(ctx context.Context, c AWSConfig) (*AWS, error) {
	if c.KeyID == "" || c.MaxRetries < 0 {
		return nil, core.Errorf(core.Invalid, "AWS KMS needs a key id, and retries of 0 or more")
	}
	if c.AttemptTimeout <= 0 {
		c.AttemptTimeout = defaultAttempt
	}
	cfg, away, err := loadAWS(ctx, c)
	if err != nil {
		return nil, err
	}
	k := &AWS{keyID: c.KeyID, breaker: newBreaker(explained(c.Silent, c.KeyID))}
	k.breaker.limit = c.AttemptTimeout
	// Only now is the client complete: AWS_CA_BUNDLE has changed it.
	inner := cfg.HTTPClient
	if b, ok := inner.(*awshttp.BuildableClient); ok {
		inner = b.Freeze()
	}
	k.idle, _ = inner.(interface{ CloseIdleConnections() })
	cfg.HTTPClient = shortAnswers{inner}
	k.client = awskms.NewFromConfig(cfg, func(o *awskms.Options) {
		o.APIOptions = append(o.APIOptions, k.breaker.install)
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
		} else if away {
			o.BaseEndpoint = nil
		}
	})
	if err := checkEndpoint(aws.ToString(k.client.Options().BaseEndpoint)); err != nil {
		return nil, err
	}
	return k, nil
}

// loadAWS reads the SDK's settings, and settles the region. away reports whether the key is in another region than the SDK.
func loadAWS(ctx context.Context, c AWSConfig) (cfg aws.Config, away bool, err error) {
	cfg, err = config.LoadDefaultConfig(ctx, config.WithSharedConfigProfile(c.Profile),
		config.WithRetryMode(aws.RetryModeStandard), config.WithRetryMaxAttempts(c.MaxRetries+1),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(c.AttemptTimeout).WithTransportOptions(tune)),
		config.WithLogger(logging.Nop{}), config.WithClientLogMode(0))
	if err != nil {
		return cfg, false, core.Wrap(core.Invalid, err, "the AWS settings cannot be read")
	}
	from := cfg.Region
	if c.Elsewhere {
		cfg.Region = ""
	}
	if err := settleRegion(&cfg, c.KeyID); err != nil {
		return cfg, false, err
	}
	away = c.Elsewhere && from != "" && from != cfg.Region
	if cfg.Credentials != nil {
		cfg.Credentials = credentialSource{cfg.Credentials}
	}
	return cfg, away, nil
}

// tune keeps enough idle connections for a burst of misses; the default of ten would close and open them all the time.
func tune(t *http.Transport) {
	t.MaxIdleConnsPerHost = 64
	t.MaxConnsPerHost = 256
}

// settleRegion takes the region from the key's ARN, and refuses two that differ.
func settleRegion(cfg *aws.Config, keyID string) error {
	region := ""
	if parts := strings.Split(keyID, ":"); len(parts) >= 6 && parts[0] == "arn" {
		if parts[2] != "kms" {
			return core.Errorf(core.Invalid, "VAULT_KMS_KEY_ID is an ARN, but not of AWS KMS")
		}
		region = parts[3]
	}
	switch {
	case cfg.Region == "" && region == "":
		return core.Errorf(core.Invalid, "no AWS region is set: set AWS_REGION, or give VAULT_KMS_KEY_ID as an ARN")
	case cfg.Region == "":
		cfg.Region = region
	case region != "" && region != cfg.Region:
		return core.Errorf(core.Invalid, "VAULT_KMS_KEY_ID is a key of region %s, but the region is set to %s", core.Quote(region), core.Quote(cfg.Region))
	}
	return nil
}

// checkEndpoint refuses to send requests in the clear: the answers are data keys. "" is AWS's own endpoint.
func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return core.Errorf(core.Invalid, "the endpoint of AWS KMS is not a URL")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Scheme != "http" || u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return core.Errorf(core.Invalid, "the endpoint of AWS KMS is http, and not on this machine: data keys would cross the network in the clear; use https in AWS_ENDPOINT_URL_KMS")
}

// explained passes on the errors of attempts as explain would.
func explained(silent func(error), key string) func(error) {
	if silent == nil {
		return nil
	}
	return func(why error) {
		if why != nil {
			why = outage(key, why)
		}
		silent(why)
	}
}

// outage is the error while no call is made because of why, the last attempt's error.
func outage(key string, why error) error {
	f := &awsFault{op: "*", key: key}
	m := f.judgeAttempt(why)
	f.detail, f.hint, f.reason = inOneLine(f.detail, noFurther), inOneLine(m.hint, restingHint), m.reason
	return core.Wrap(m.code, f, "%s", m.msg)
}

// Circuit returns the state of the breaker. It is open while KMS is considered unavailable.
func (k *AWS) Circuit() Circuit {
	c := k.breaker.state()
	if why := k.breaker.reason(); c.Open && why != nil {
		c.why = outage(k.keyID, why)
	}
	return c
}

// Generate returns a new data key bound to kmsContext, wrapped by KMS under the configured key. KeyID is the ARN of
// that key, whatever name the configuration has. The caller wipes Plain. The error is core.Unavailable or
// core.Denied, and no key is returned with it.
func (k *AWS) Generate(ctx context.Context, kmsContext map[string]string) (vault.DataKey, error) {
	ctx, timely := k.call(ctx, "GenerateDataKey", k.keyID)
	out, err := k.client.GenerateDataKey(ctx, &awskms.GenerateDataKeyInput{
		KeyId: &k.keyID, KeySpec: types.DataKeySpecAes256, EncryptionContext: kmsContext,
	}, timely)
	if err != nil {
		return vault.DataKey{}, k.explain(ctx, "GenerateDataKey", k.keyID, err)
	}
	id := aws.ToString(out.KeyId)
	if len(out.Plaintext) != envelope.KeySize || !plausibleBlob(out.CiphertextBlob) || !k.names(id) {
		envelope.Wipe(out.Plaintext)
		return vault.DataKey{}, falseAnswer("GenerateDataKey", k.keyID)
	}
	return vault.DataKey{Plain: out.Plaintext, WrappedKey: vault.WrappedKey{KeyID: id, Wrapped: out.CiphertextBlob}}, nil
}

// Unwrap returns the data key, which the caller wipes. It names to KMS the key that must have wrapped the data key,
// so a row that claims another key does not open. The error is core.Corrupt when the wrapped key is damaged or
// belongs to another context or key. It is core.Denied when KMS did not wrap it or refuses this server, and
// core.Unavailable otherwise.
func (k *AWS) Unwrap(ctx context.Context, key vault.WrappedKey, kmsContext map[string]string) ([]byte, error) {
	if err := checkWrapped(key); err != nil {
		return nil, err
	}
	ctx, timely := k.call(ctx, "Decrypt", key.KeyID)
	out, err := k.client.Decrypt(ctx, &awskms.DecryptInput{
		KeyId: &key.KeyID, CiphertextBlob: key.Wrapped, EncryptionContext: kmsContext,
	}, timely)
	if err != nil {
		return nil, k.explain(ctx, "Decrypt", key.KeyID, err)
	}
	if len(out.Plaintext) != envelope.KeySize || aws.ToString(out.KeyId) != key.KeyID {
		envelope.Wipe(out.Plaintext)
		return nil, falseAnswer("Decrypt", key.KeyID)
	}
	return out.Plaintext, nil
}

// Close drops the idle connections. It does not end calls under way, and may be called twice.
func (k *AWS) Close() error {
	if k.idle != nil {
		k.idle.CloseIdleConnections()
	}
	return nil
}

// Check returns nil when KMS answers and the configured key can make data keys now. It needs the permission
// kms:DescribeKey. The error is core.Unavailable or core.Denied.
func (k *AWS) Check(ctx context.Context) error {
	_, err := k.Current(ctx)
	return err
}

// Current returns the ARN of the key that Generate uses now. Its errors are those of Check.
func (k *AWS) Current(ctx context.Context) (string, error) {
	ctx, timely := k.call(ctx, "DescribeKey", k.keyID)
	out, err := k.client.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: &k.keyID}, timely)
	if err != nil {
		return "", k.explain(ctx, "DescribeKey", k.keyID, err)
	}
	m := out.KeyMetadata
	if m == nil || !k.names(aws.ToString(m.Arn)) {
		return "", falseAnswer("DescribeKey", k.keyID)
	}
	if m.KeyUsage != types.KeyUsageTypeEncryptDecrypt || m.KeySpec != types.KeySpecSymmetricDefault {
		return "", core.Wrap(core.Unavailable, &awsFault{op: "DescribeKey", key: k.keyID, hint: "VAULT_KMS_KEY_ID must be a symmetric encryption key"},
			"the master key cannot make data keys")
	}
	if m.KeyState != types.KeyStateEnabled {
		return "", core.Wrap(core.Unavailable, &awsFault{op: "DescribeKey", key: k.keyID, hint: "its state is " + core.Quote(string(m.KeyState))},
			"the master key is not enabled")
	}
	return aws.ToString(m.Arn), nil
}

// names reports whether arn can be the ARN of the configured key. An answer for another key is refused. Only KMS knows
// which key an alias stands for, so any key ARN fits an alias.
func (k *AWS) names(arn string) bool {
	if !isKeyARN(arn) {
		return false
	}
	configured := k.keyID
	if rest, ok := strings.CutPrefix(configured, "arn:"); ok {
		if !strings.Contains(rest, ":alias/") {
			return arn == configured
		}
		return true
	}
	return strings.HasPrefix(configured, "alias/") || strings.HasSuffix(arn, ":key/"+configured)
}

// isKeyARN accepts arn:PARTITION:kms:REGION:ACCOUNT:key/ID of printable ASCII.
func isKeyARN(s string) bool {
	parts := strings.Split(s, ":")
	if len(s) > maxARN || len(parts) != 6 || parts[0] != "arn" || parts[2] != "kms" || parts[3] == "" || parts[4] == "" {
		return false
	}
	id, ok := strings.CutPrefix(parts[5], "key/")
	return ok && id != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func plausibleBlob(b []byte) bool { return len(b) > 0 && len(b) <= maxBlob }

// checkWrapped refuses what KMS cannot have made before it costs a call.
func checkWrapped(key vault.WrappedKey) error {
	if strings.HasPrefix(key.KeyID, localPrefix) {
		return core.Errorf(core.Denied, "the data key was wrapped under a local master key (%s), and this server uses AWS KMS", showKeyID(key.KeyID))
	}
	if !isKeyARN(key.KeyID) || !plausibleBlob(key.Wrapped) {
		return core.Errorf(core.Corrupt, "the wrapped data key is damaged")
	}
	return nil
}

// shortAnswers cuts over-long bodies: the SDK reads them whole.
type shortAnswers struct{ inner awskms.HTTPClient }

// Do implements the SDK's HTTPClient.
func (c shortAnswers) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.inner.Do(r)
	if err == nil && resp.Body != nil {
		resp.Body = &limitedBody{Reader: io.LimitReader(resp.Body, maxAnswer), Closer: resp.Body}
	}
	return resp, err
}

type limitedBody struct {
	io.Reader
	io.Closer
}
