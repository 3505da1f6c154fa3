package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Code is the kind of a failure. Branch on it.
type Code string

// Codes of the server, and three of this package.
const (
	Invalid              Code = "invalid"
	TooLarge             Code = "too_large"
	Unauthenticated      Code = "unauthenticated"
	Denied               Code = "denied"
	TooMany              Code = "too_many"
	NotFound             Code = "not_found"
	Exists               Code = "exists"
	Stale                Code = "stale"
	Unavailable          Code = "unavailable"
	Corrupt              Code = "corrupt"
	Internal             Code = "internal"
	PreconditionRequired Code = "precondition_required"

	// Unreachable: no answer came. Unavailable and Unreachable are what Cache calls an outage.
	Unreachable Code = "unreachable"
	// Untrusted: the server's certificate is not one to trust, or the server does not trust the client's.
	Untrusted Code = "untrusted"
	// Unexpected: what answers does not answer as a vault does.
	Unexpected Code = "unexpected"
)

var errConsistency = errors.New(`the consistency (VAULT_READ_CONSISTENCY) is "primary" or "local"`)

// Error is the failure of a call.
type Error struct {
	// Op is what failed, as in "read db/password".
	Op string
	// Code is never empty.
	Code Code
	// Status is that of the answer, 0 without one.
	Status int
	// Detail is a sentence of the server, or of this package. It shows no value and no token.
	Detail string
	// RequestID finds the request in the server's log and audit.
	RequestID string
	// RetryAfter is how long the server wants the client to wait.
	RetryAfter time.Duration
	// OutcomeUnknown is set for a change that may have been made. Check the current version before repeating it.
	OutcomeUnknown bool

	cause error
}

func (e *Error) Error() string {
	text := e.Op + ": " + e.text()
	if e.OutcomeUnknown && !strings.Contains(text, "unknown") {
		text += "; the change may have been made, so check the current version before you repeat it"
	}
	return text
}

func (e *Error) text() string {
	if e.Detail != "" {
		return e.Detail
	}
	return strings.ReplaceAll(string(e.Code), "_", " ")
}

// Unwrap returns the cause of a failure without an answer, or nil.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf returns the code of an error of this package, and "" for any other.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// problem is RFC 9457, as the API answers it, and the errors of its login routes.
type problem struct {
	Status    int      `json:"status"`
	Detail    string   `json:"detail"`
	Code      Code     `json:"code"`
	RequestID string   `json:"request_id"`
	Errors    []string `json:"errors"`
}

func (p *problem) error(op string) *Error {
	return &Error{Op: op, Code: p.Code, Status: p.Status, Detail: printable(p.Detail), RequestID: printable(p.RequestID)}
}

// answered makes an error of an answer that is no success. secret is the token, which no error shows.
func answered(op string, resp *http.Response, body []byte, token string) *Error {
	var p problem
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	fits := strings.HasSuffix(kind, "json") && json.Unmarshal(body, &p) == nil
	e := p.error(op)
	e.Status = resp.StatusCode
	e.RetryAfter = retryAfter(resp.Header)
	if e.RequestID == "" {
		e.RequestID = printable(resp.Header.Get("X-Request-Id"))
	}
	switch {
	case fits && e.Code != "":
	case fits && len(p.Errors) > 0:
		e.Code, e.Detail = codeOfStatus(e.Status), printable(p.Errors[0])
	case e.Status/100 == 3:
		e.Code, e.Detail = Unexpected, fmt.Sprintf("the server answers %d: it redirects to another address; give that one (VAULT_ADDR)", e.Status)
	case e.Status >= 502 && e.Status <= 504 || e.Status == http.StatusTooManyRequests:
		e.Code, e.Detail = codeOfStatus(e.Status), fmt.Sprintf("what is in front of the vault answers %d", e.Status)
	case resp.Request != nil && resp.Request.Method == http.MethodHead:
		e.Code = codeOfStatus(e.Status)
	default:
		e.Code, e.Detail = Unexpected, fmt.Sprintf("the answer %d is not one of a HyperionDB Vault; check the address (VAULT_ADDR)", e.Status)
	}
	if token != "" {
		e.Detail = strings.ReplaceAll(e.Detail, token, "[token]")
	}
	return e
}

func codeOfStatus(status int) Code {
	switch status {
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return Denied
	case http.StatusNotFound:
		return NotFound
	case http.StatusTooManyRequests:
		return TooMany
	case http.StatusInternalServerError:
		return Internal
	}
	if status > http.StatusInternalServerError {
		return Unavailable
	}
	return Invalid
}

// retryAfter reads a header of whole seconds, 0 without one.
func retryAfter(h http.Header) time.Duration {
	secs, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || secs < 0 {
		return 0
	}
	return time.Duration(min(secs, 24*3600)) * time.Second
}

// unanswered makes an error of a request that got no answer. It leaves out the URL.
func unanswered(ctx context.Context, op, base string, err error) *Error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	e := &Error{Op: op, Code: Unreachable, cause: err}
	switch {
	case ctx.Err() != nil:
		e.cause, e.Detail = ctx.Err(), "the call was canceled, or ran out of time"
	case errors.Is(err, context.DeadlineExceeded):
		e.Detail = base + " gave no answer in time (VAULT_CLIENT_TIMEOUT)"
	case untrusted(err):
		e.Code = Untrusted
		e.Detail = "the server's certificate cannot be trusted: " + err.Error() + "; set VAULT_CACERT to the file of the authority that has signed it, or VAULT_TLS_SERVER_NAME to the name that it has"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Code, e.Detail = Unexpected, "the server does not speak TLS; check the address (VAULT_ADDR), which begins with https://"
	case strings.HasPrefix(err.Error(), "remote error: tls: "): // a type that crypto/tls does not export
		e.Code = Untrusted
		e.Detail = "the server " + base + " refuses the certificate of this client: " + printable(err.Error()) + "; VAULT_CLIENT_CERT and VAULT_CLIENT_KEY name its files"
	default:
		e.Detail = "the server " + base + " (VAULT_ADDR) cannot be reached: " + printable(err.Error())
	}
	return e
}

func untrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.HostnameError](err)
	return ok
}

// neverSent reports whether err came before the request could have reached the server.
func neverSent(err error) bool {
	o, ok := errors.AsType[*net.OpError](err)
	return ok && o.Op == "dial"
}

// printable bounds a text of the server, and takes out what a terminal would act on.
func printable(s string) string {
	const most = 500
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s[:min(len(s), most)])
}
