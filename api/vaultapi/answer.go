package vaultapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/exchange"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// answerError is an error whose answer the protocol knows exactly.
type answerError struct {
	status int
	texts  []string
	data   []byte // the answer in place of the texts; nil = none
	cause  *core.Error
}

func (e *answerError) Error() string { return e.cause.Error() }
func (e *answerError) Unwrap() error { return e.cause }

func failure(status int, code core.Code, format string, args ...any) error {
	e := core.Errorf(code, format, args...)
	return &answerError{status: status, texts: []string{e.Msg}, cause: e}
}

// multi is the form that the protocol gives to errors of its router.
func multi(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }

func errUnsupported() error {
	return failure(http.StatusMethodNotAllowed, core.Invalid, "%s", multi("unsupported operation"))
}

// errNoPath is about a path below a mount, or a mount that is not there.
func errNoPath(path string) error {
	below := strings.TrimPrefix(path, root)
	if strings.HasPrefix(below, "sys/") || strings.HasPrefix(below, "auth/token/") {
		return failure(http.StatusNotFound, core.NotFound, "%s", multi("unsupported path"))
	}
	if len(below) > core.MaxNameLen {
		below = below[:core.MaxNameLen]
	}
	return failure(http.StatusNotFound, core.NotFound, "no handler for route %s. route entry not found.", strconv.QuoteToASCII(below))
}

func invalid(format string, args ...any) error {
	return failure(http.StatusBadRequest, core.Invalid, format, args...)
}

// Texts that clients compare with.
const (
	textDenied = "permission denied"
	textSealed = "Vault is sealed"
	textStale  = "check-and-set parameter did not match the current version"
)

type errorsBody struct {
	Errors []string `json:"errors"`
}

// Fail implements exchange.Protocol.
func (a *API) Fail(x *exchange.Exchange, err error) {
	p := x.Judge(err)
	status, texts := p.Status, []string{p.Text}
	if p.Text == "" {
		texts[0] = "internal error"
	}
	if e, ok := errors.AsType[*answerError](err); ok {
		if status, texts = e.status, e.texts; e.data != nil {
			send(x, status, e.data)
			return
		}
	} else {
		switch {
		case status == http.StatusUnauthorized: // there is none in the protocol
			status, texts = http.StatusForbidden, []string{textDenied}
		case p.Code == string(core.Denied) && status == http.StatusForbidden:
			texts[0] = multi(textDenied)
		case p.Code == string(core.NotFound):
			texts = []string{}
		case errors.Is(err, vault.ErrNotReplayed):
			status = http.StatusPreconditionFailed
		case p.Code == string(core.Stale), p.Code == string(core.Exists):
			status, texts[0] = http.StatusBadRequest, textStale // 412 would be tried again
		case status == http.StatusServiceUnavailable && anyReadFails(x.Request):
			texts[0] = textSealed
		}
	}
	if p.RetryAfter != "" {
		x.Writer.Header().Set("Retry-After", p.RetryAfter)
	}
	sendJSON(x, status, errorsBody{Errors: texts})
}

// anyReadFails reports whether a request that cannot be served means that this node cannot serve reads. A change needs the
// primary, and so does a read that demands more than what the node has: then the error's own text is the honest one.
func anyReadFails(r *http.Request) bool {
	if o := operationOf(r); o != opRead && o != opList && o != opScan || strings.HasPrefix(r.URL.Path, root+credsPath) {
		return false // the GET of a credential makes a role
	}
	h := r.Header
	return h.Get(headerIndex) == "" && h.Get(headerLSN) == "" && h.Get(headerConsistency) == ""
}

// body is an answer. Its other members are constants to us.
type body struct {
	RequestID     string    `json:"request_id"`
	LeaseID       string    `json:"lease_id"`
	Renewable     bool      `json:"renewable"`
	LeaseDuration int64     `json:"lease_duration"`
	Data          any       `json:"data"`
	WrapInfo      any       `json:"wrap_info"`
	Warnings      []string  `json:"warnings"`
	Auth          *authBody `json:"auth"`
}

type authBody struct {
	ClientToken    string            `json:"client_token"`
	Accessor       string            `json:"accessor"`
	Policies       []string          `json:"policies"`
	TokenPolicies  []string          `json:"token_policies"`
	Metadata       map[string]string `json:"metadata"`
	LeaseDuration  int64             `json:"lease_duration"`
	Renewable      bool              `json:"renewable"`
	EntityID       string            `json:"entity_id"`
	TokenType      string            `json:"token_type"`
	Orphan         bool              `json:"orphan"`
	MFARequirement any               `json:"mfa_requirement"`
	NumUses        int               `json:"num_uses"`
}

func (r *request) answerData(data any, warnings ...string) {
	r.answer(body{Data: data, Warnings: warnings})
}

// answer sends a body, and wipes it: it may hold the caller's token.
func (r *request) answer(b body) {
	b.RequestID = r.Caller.RequestID
	if len(b.Warnings) == 0 {
		b.Warnings = nil
	}
	sendJSON(r.Exchange, http.StatusOK, b)
}

// answerNothing is 204, or an answer that has nothing but warnings.
func (r *request) answerNothing(warnings ...string) {
	if len(warnings) > 0 {
		r.answer(body{Warnings: warnings})
		return
	}
	r.Writer.WriteHeader(http.StatusNoContent)
}

func sendJSON(x *exchange.Exchange, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"errors":["internal error"]}`)
	}
	defer envelope.Wipe(b)
	send(x, status, b)
}

// send leaves the content type bare: clients compare it.
func send(x *exchange.Exchange, status int, b []byte) {
	h := x.Writer.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	x.Writer.WriteHeader(status)
	_, _ = x.Writer.Write(b)
}

// setIndex tells the client of a change what to send with a read that must see it, by both of its names.
func (r *request) setIndex(p core.Position) {
	if p == (core.Position{}) {
		return
	}
	r.Writer.Header().Set(headerLSN, p.String())
	r.Writer.Header().Set(headerIndex, p.String())
}

// timeText is a time as the protocol writes it; "" = none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// seconds returns how long it is from now to t, at least 1: a 0 would mean that there is no end.
func seconds(now, t time.Time) int64 {
	d := t.Sub(now)
	return max(1, int64((d+time.Second-1)/time.Second))
}

// durationText is a number of seconds as the protocol writes a duration.
func durationText(secs int64) string {
	if secs == 0 {
		return "0s"
	}
	return fmt.Sprint(time.Duration(secs) * time.Second)
}

// notThere is an answer with data and the status 404.
func notThere(r *request, data any) error {
	b, err := json.Marshal(body{RequestID: r.Caller.RequestID, Data: data})
	if err != nil {
		return core.Wrap(core.Internal, err, "encode the answer")
	}
	return &answerError{status: http.StatusNotFound, data: b, cause: core.Errorf(core.NotFound, "the version is deleted or destroyed")}
}
