package kms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// awsFault is what an operator is told about a failed call. It consists of parts that are known to contain no key,
// token or ciphertext. The SDK's own texts may contain them: a signature error of AWS repeats the session token, and
// a decoding error repeats a part of the answer. So the SDK's texts and its error itself are left out.
type awsFault struct {
	op      string // "Decrypt"
	key     string // the key as named in the call
	code    string // AWS's error code; "" = none
	request string // AWS's request id; "" = none
	detail  string // what happened where there is no code
	hint    string // what to do
	says    verdict
	reason  Reason
	cause   error // a context's error, for errors.Is; nil = none
}

// Error is one line.
func (f *awsFault) Error() string {
	b := "kms:" + f.op + " with key " + printable(f.key, maxARN)
	if f.code != "" {
		b += ": " + f.code
	}
	if f.detail != "" {
		b += ": " + f.detail
	}
	if f.request != "" {
		b += " (request " + f.request + ")"
	}
	if f.hint != "" {
		b += "; " + f.hint
	}
	return b
}

// Unwrap returns the context's error, if one ended the call.
func (f *awsFault) Unwrap() error { return f.cause }

// Is makes a no vault.ErrKeyRefused.
func (f *awsFault) Is(target error) bool { return target == vault.ErrKeyRefused && f.says == no }

// meaning is what one of AWS's codes means here.
type meaning struct {
	code core.Code
	msg  string // for clients too
	hint string // for the operator
	says verdict
	// reason is the meaning as a label of metrics.
	reason Reason
	// quote allows AWS's own message, which names the principal, action or key and nothing secret.
	quote bool
}

// verdict is what the outcome of an Unwrap says about a data key that was unwrapped before.
type verdict int

const (
	// silent: no service that can decide has answered. KMS is away, hangs, throttles or fails.
	silent verdict = iota
	// unsure: something else than yes or no. The right to the key is not confirmed, nor is it known to be gone.
	unsure
	// no: KMS says that the key must not, or cannot, be used.
	no
	yes
)

// verdictOf returns what err, of an Unwrap of any keeper, says; nil is yes.
func verdictOf(err error) verdict {
	if err == nil {
		return yes
	}
	if f, ok := errors.AsType[*awsFault](err); ok {
		return f.says
	}
	switch core.CodeOf(err) {
	case core.Denied, core.Corrupt:
		return no
	case core.Unavailable:
		return silent
	}
	return unsure
}

// noFurther is added to the last attempt's failure when calls are refused because of it.
const noFurther = "no further attempt is made now"

// restingHint tells the operator why no call was made.
const restingHint = "one call is tried at least once a second until the key service answers"

var (
	throttled = meaning{reason: ReasonThrottled, code: core.Unavailable, msg: "the key service is throttling", hint: "raise the KMS request quota or VAULT_DEK_CACHE_TTL_SECS"}
	failed    = meaning{reason: ReasonFailed, code: core.Unavailable, msg: "the key service has failed"}
	unheardOf = meaning{reason: ReasonFailed, code: core.Unavailable, msg: "the key service has failed", says: unsure}
	disabled  = meaning{reason: ReasonKey, code: core.Unavailable, msg: "the master key cannot be used now", hint: "enable the key, or cancel its deletion", says: no, quote: true}
	// invalidState is pending deletion, and with a custom key store every failure of the store too: see AWS.judgeState.
	invalidState = meaning{reason: ReasonKey, code: core.Unavailable, msg: "the master key cannot be used now", hint: "enable the key, cancel its deletion, or repair its custom key store", says: unsure, quote: true}
	unknownKey   = meaning{reason: ReasonKey, code: core.Unavailable, msg: "the key service does not know the master key", hint: "check VAULT_KMS_KEY_ID and AWS_REGION", says: no, quote: true}
	badKey       = meaning{reason: ReasonKey, code: core.Unavailable, msg: "the master key cannot make data keys", hint: "VAULT_KMS_KEY_ID must be a symmetric encryption key", says: no, quote: true}
	refused      = meaning{reason: ReasonDenied, code: core.Denied, msg: "the key service refuses this server", hint: "the IAM policy or the key policy must allow the action with this encryption context (docs/KMS.md)", says: no, quote: true}
	badLogin     = meaning{reason: ReasonCredentials, code: core.Unavailable, msg: "the key service does not accept this server's credentials", hint: "renew the AWS credentials and check this machine's clock", says: unsure}
	badBlob      = meaning{reason: ReasonCorrupt, code: core.Corrupt, msg: "the wrapped data key is damaged or belongs to another secret or version", says: no}
	wrongKey     = meaning{reason: ReasonCorrupt, code: core.Corrupt, msg: "the wrapped data key is not of the key it claims", says: no}
	unreachable  = meaning{reason: ReasonUnreachable, code: core.Unavailable, msg: "the key service cannot be reached"}
	tooLate      = meaning{reason: ReasonTimeout, code: core.Unavailable, msg: "the key service did not answer in time"}
	away         = meaning{reason: ReasonAway, code: core.Unavailable, msg: "the key service does not answer", hint: restingHint}
	notAnAnswer  = meaning{reason: ReasonFalseAnswer, code: core.Unavailable, msg: "the key service gave a false answer", hint: "check AWS_ENDPOINT_URL_KMS and what stands between here and AWS"}
	noLogin      = meaning{reason: ReasonCredentials, code: core.Unavailable, msg: "this server has no credentials for the key service", hint: "none of the environment, shared files, web identity, container or instance role gave any", says: unsure}
)

// meanings of the codes that KMS and its front end answer with. Every other code is failed or unheardOf, by its HTTP
// status.
var meanings = map[string]meaning{
	"ThrottlingException": throttled, "Throttling": throttled, "TooManyRequestsException": throttled,
	"RequestLimitExceeded": throttled, "LimitExceededException": throttled, "SlowDown": throttled,

	"DisabledException": disabled, "KMSInvalidStateException": invalidState,
	"NotFoundException": unknownKey, "InvalidArnException": unknownKey,
	"InvalidKeyUsageException": badKey, "UnsupportedOperationException": badKey,
	"AccessDeniedException": refused, "AccessDenied": refused, "NotAuthorized": refused,

	"UnrecognizedClientException": badLogin, "InvalidClientTokenId": badLogin, "ExpiredTokenException": badLogin,
	"ExpiredToken": badLogin, "InvalidSignatureException": badLogin, "IncompleteSignatureException": badLogin,
	"MissingAuthenticationTokenException": badLogin, "SignatureDoesNotMatch": badLogin, "RequestExpired": badLogin,

	"InvalidCiphertextException": badBlob, "IncorrectKeyException": wrongKey,
}

// explain turns an error of the SDK into one of ours.
func (k *AWS) explain(ctx context.Context, op, key string, err error) error {
	f := &awsFault{op: op, key: key, cause: ctx.Err()}
	if r, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		f.request = printable(r.ServiceRequestID(), 64)
	}
	m := k.judge(f, attemptsOf(ctx).cause(), err)
	f.hint, f.says, f.reason = m.hint, m.says, m.reason
	if errors.Is(f.cause, context.Canceled) {
		f.reason = ReasonCancelled
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && f.cause == nil && api.ErrorCode() == "KMSInvalidStateException" {
		f.says = k.judgeState(ctx, key)
	}
	return core.Wrap(m.code, f, "%s", m.msg)
}

// judgeState queries whether an administrator has disabled the key; the answer is then no. Otherwise it may be a
// failure of the key store.
func (k *AWS) judgeState(ctx context.Context, key string) verdict {
	out, err := k.client.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: &key})
	if err != nil || out.KeyMetadata == nil || aws.ToString(out.KeyMetadata.Arn) != key {
		return unsure
	}
	switch out.KeyMetadata.KeyState {
	case types.KeyStateDisabled, types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion:
		return no
	}
	return unsure
}

// judge returns what the end of a call means: last is why its last attempt failed, nil if none has failed by itself. A
// call that was given up between two attempts, or in one, means what the last attempt did.
func (k *AWS) judge(f *awsFault, last, err error) meaning {
	resting := errors.Is(err, errResting)
	if resting && last == nil {
		last = k.breaker.reason()
	}
	switch {
	case resting && last != nil:
		m := f.judgeAttempt(last)
		f.detail = inOneLine(f.detail, noFurther)
		m.hint, m.says = inOneLine(m.hint, restingHint), silent
		return m
	case resting:
		return away
	case f.cause != nil && last != nil:
		m := f.judgeAttempt(last)
		f.detail = inOneLine(f.detail, "given up: "+f.cause.Error())
		return m
	case f.cause != nil:
		f.detail = "given up: " + f.cause.Error()
		return tooLate
	case last != nil:
		return f.judgeAttempt(last)
	}
	return f.judgeAttempt(err)
}

// judgeAttempt returns what the failure of an attempt means.
func (f *awsFault) judgeAttempt(err error) meaning {
	if c, ok := errors.AsType[*noCredentials](err); ok {
		f.detail = c.Error()
		return noLogin
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		f.code = printable(api.ErrorCode(), 64)
		m, known := meanings[api.ErrorCode()]
		if status, ok := statusOf(err); !known && ok && status < 500 {
			m = unheardOf
		} else if !known {
			m = failed
		}
		if m.quote {
			f.detail = printable(api.ErrorMessage(), 300)
		}
		return m
	}
	return f.judgeTransport(err)
}

// judgeTransport classifies an error that is not an answer of KMS.
func (f *awsFault) judgeTransport(err error) meaning {
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		f.detail = "no address for " + printable(d.Name, 255)
		return unreachable
	}
	if c, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		f.detail = "its TLS certificate is not trusted" + distrust(c)
		return unreachable
	}
	if o, ok := errors.AsType[*net.OpError](err); ok && o.Op == "proxyconnect" {
		f.detail = "the proxy of HTTPS_PROXY cannot be reached"
		if dial, ok := errors.AsType[*net.OpError](o.Err); ok {
			f.detail += ": " + printable(dial.Error(), 200)
		}
		return unreachable
	}
	if o, ok := errors.AsType[*net.OpError](err); ok && o.Op == "dial" {
		f.detail = printable(o.Error(), 200) // addresses and the system's error, nothing else
		return unreachable
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		f.detail = "no whole answer in the time of one attempt"
		return tooLate
	}
	if status, ok := statusOf(err); ok && !broke(err) {
		f.detail = fmt.Sprintf("HTTP status %d with an answer that is not KMS's", status)
		if status >= 500 {
			return failed
		}
		return notAnAnswer
	}
	f.detail = "the connection broke"
	return unreachable
}

// distrust says why, in words that hold nothing of the certificate.
func distrust(c *tls.CertificateVerificationError) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](c.Err); ok {
		return ": it is of an unknown authority (AWS_CA_BUNDLE)"
	}
	if _, ok := errors.AsType[x509.HostnameError](c.Err); ok {
		return ": it is for another name"
	}
	if i, ok := errors.AsType[x509.CertificateInvalidError](c.Err); ok && i.Reason == x509.Expired {
		return ": it has expired, or this machine's clock is wrong"
	}
	return ""
}

// statusOf returns the HTTP status of the answer that err is about; false when there was none.
func statusOf(err error) (int, bool) {
	r, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok || r.ResponseError == nil || r.Response == nil || r.Response.Response == nil || r.Response.StatusCode == 0 {
		return 0, false
	}
	return r.Response.StatusCode, true
}

// broke reports whether a connection ended in the middle of an answer.
func broke(err error) bool {
	_, op := errors.AsType[*net.OpError](err)
	return op || errors.Is(err, io.ErrUnexpectedEOF)
}

// falseAnswer is an answer that KMS does not give: another key, a key of another length. It may be a proxy, a wrong
// endpoint or an attack; the stored data is not at fault.
func falseAnswer(op, key string) error {
	f := &awsFault{op: op, key: key, detail: "the answer names another key or holds no 256-bit data key", hint: notAnAnswer.hint}
	return core.Wrap(notAnAnswer.code, f, "%s", notAnAnswer.msg)
}

// printable keeps at most n printable ASCII characters of what another machine said.
func printable(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// credentialSource marks the errors of the credential chain, so that "no credentials" is not mistaken for "no network".
type credentialSource struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (c credentialSource) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &noCredentials{err: err}
	}
	return creds, nil
}

// noCredentials does not print its cause, which may be the output of any program (credential_process).
type noCredentials struct{ err error }

// Error names the code of AWS, when the cause has one.
func (e *noCredentials) Error() string {
	if api, ok := errors.AsType[smithy.APIError](e.err); ok {
		return "the credentials could not be fetched: " + printable(api.ErrorCode(), 64)
	}
	return "no credentials"
}

// AWSCode returns the code with which AWS refused a call, such as "AccessDeniedException". It is "" if AWS has not
// answered, or if err is not of a call.
func AWSCode(err error) string {
	if f, ok := errors.AsType[*awsFault](err); ok {
		return f.code
	}
	return ""
}
