package vaultapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

const textNoWrapped = "wrapping token is not valid or does not exist"

// wrapTTL returns for how long the client wants the answer wrapped, 0 for not at all. What cannot be read is an error: the
// client must not get in the clear what it wants wrapped.
func wrapTTL(h http.Header) (time.Duration, error) {
	values := h.Values(headerWrapTTL)
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return 0, nil
	}
	wrong := invalid("%s must be one number of seconds or a duration, as in 60s", "X-Vault-Wrap-TTL")
	if len(values) > 1 {
		return 0, wrong
	}
	text := strings.TrimSpace(values[0])
	d, ok := durationOf([]byte(text))
	if !ok || strings.HasPrefix(text, `"`) {
		return 0, wrong
	}
	if d == 0 && strings.Trim(text, "0hms") != "" { // less than a second
		return 0, wrong
	}
	return d, nil
}

// captured is an answer on its way to be wrapped. Its header is that of the client's answer.
type captured struct {
	http.ResponseWriter
	status int
	body   []byte
}

func (c *captured) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

// Write keeps the answer. A buffer that it outgrows is wiped.
func (c *captured) Write(b []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	grown := append(make([]byte, 0, len(c.body)+len(b)), c.body...)
	envelope.Wipe(c.body)
	c.body = append(grown, b...)
	return len(b), nil
}

// runWrapped runs an operation and has its answer wrapped. Errors, and answers without a body, go to the client as they are.
func (a *API) runWrapped(r *request, o operation, ttl time.Duration) error {
	if o.action != vault.ActionLogin {
		if err := a.vault.ScreenWrap(r.Caller, ttl); err != nil {
			return a.vault.Reject(r.Request.Context(), r.Caller, vault.ActionWrap, r.Route.Name, err)
		}
	} else if err := a.vault.CheckWrap(ttl); err != nil {
		return a.reject(r, err)
	}
	held := &captured{ResponseWriter: r.Writer}
	defer func() { envelope.Wipe(held.body) }()
	if err := r.runInto(held, func() error { return o.run(a, r) }); err != nil || held.status == 0 {
		return err
	}
	if held.status != http.StatusOK || len(held.body) == 0 {
		r.Writer.WriteHeader(held.status)
		_, _ = r.Writer.Write(held.body)
		return nil
	}
	return a.wrap(r, o, held.body, ttl)
}

// runInto has run answer to another writer. A panic finds the client's in its place again.
func (r *request) runInto(w http.ResponseWriter, run func() error) error {
	client := r.Writer
	r.Writer = w
	defer func() { r.Writer = client }()
	return run()
}

// issued is what an answer says of a token that it has.
type issued struct {
	Auth *struct {
		ClientToken string `json:"client_token"`
		Accessor    string `json:"accessor"`
	} `json:"auth"`
}

func (a *API) wrap(r *request, o operation, answer []byte, ttl time.Duration) error {
	var in issued
	if err := json.Unmarshal(answer, &in); err != nil {
		return core.Errorf(core.Internal, "the answer to wrap is no object")
	}
	by, inner := r.Caller, ""
	if in.Auth != nil {
		inner = in.Auth.Accessor
		if o.action == vault.ActionLogin {
			by.Bearer = vault.Bearer(in.Auth.ClientToken) // who has logged in has it wrapped
		}
	}
	made, w, err := a.vault.Wrap(r.Request.Context(), by, vault.WrapRequest{
		Answer: answer, Name: r.Route.Name, Path: strings.TrimPrefix(r.Request.URL.Path, root), TTL: ttl,
	})
	if err != nil {
		return err
	}
	r.answerWrapped(made, w, inner)
	return nil
}

type wrapInfo struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int64  `json:"ttl"`
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

func (r *request) answerWrapped(made token.Token, w vault.Wrapped, inner string) {
	r.setIndex(w.Position)
	r.answer(body{WrapInfo: wrapInfo{
		Token: made.Reveal(), Accessor: core.SecretID(w.ID).String(), TTL: int64(w.TTL() / time.Second),
		CreationTime: timeText(w.CreatedAt), CreationPath: w.Path, WrappedAccessor: inner,
	}})
}

// wrapping returns the wrapping token of a request: that in the body, or the caller's, which is no token otherwise.
func wrapping(r *request, f fields) (vault.Caller, vault.Bearer, error) {
	text, err := f.text("token")
	by := r.Caller
	if err != nil || text != "" && vault.Bearer(text) != by.Bearer {
		return by, vault.Bearer(text), err
	}
	text, by.Bearer = string(by.Bearer), ""
	return by, vault.Bearer(text), nil
}

// unwrap answers with the wrapped answer, once.
func (a *API) unwrap(r *request) error {
	return a.onWrapped(r, func(by vault.Caller, wrapping vault.Bearer, _ fields) error {
		answer, at, err := a.vault.Unwrap(r.Request.Context(), by, wrapping)
		defer envelope.Wipe(answer)
		if err != nil {
			return err
		}
		r.setIndex(at)
		send(r.Exchange, http.StatusOK, answer)
		return nil
	})
}

// rewrap has the wrapped answer wrapped again, under another token.
func (a *API) rewrap(r *request) error {
	return a.onWrapped(r, func(by vault.Caller, wrapping vault.Bearer, _ fields) error {
		made, w, err := a.vault.RewrapAnswer(r.Request.Context(), by, wrapping)
		if err != nil {
			return err
		}
		r.answerWrapped(made, w, "")
		return nil
	})
}

type wrappingBody struct {
	CreationPath string `json:"creation_path"`
	CreationTime string `json:"creation_time"`
	CreationTTL  int64  `json:"creation_ttl"`
}

// lookupWrapping answers what is known of a wrapped answer, which stays.
func (a *API) lookupWrapping(r *request) error {
	return a.onWrapped(r, func(by vault.Caller, wrapping vault.Bearer, f fields) error {
		w, err := a.vault.LookupWrapped(r.Request.Context(), by, wrapping)
		if err != nil {
			return err
		}
		r.answerData(wrappingBody{w.Path, timeText(w.CreatedAt), int64(w.TTL() / time.Second)}, f.warnings("token")...)
		return nil
	})
}

// appendWrapData returns an answer whose data are the fields of a body. By hand: they may hold a secret. The caller wipes it.
func appendWrapData(requestID string, f fields) []byte {
	n := 256 + jsonscan.QuotedLen(requestID)
	names := namesOf(f)
	for _, name := range names {
		n += jsonscan.QuotedLen(name) + len(f[name]) + 2
	}
	out := jsonscan.AppendQuoted(append(make([]byte, 0, n), `{"request_id":`...), requestID)
	out = append(out, `,"lease_id":"","renewable":false,"lease_duration":0,"data":{`...)
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(jsonscan.AppendQuoted(out, name), ':'), f[name]...)
	}
	return append(out, `},"wrap_info":null,"warnings":null,"auth":null}`...)
}

func (a *API) onWrapped(r *request, use func(vault.Caller, vault.Bearer, fields) error) error {
	err := r.readFields(maxBody, func(f fields) error {
		by, token, err := wrapping(r, f)
		if err != nil {
			return err
		}
		return use(by, token, f)
	})
	if errors.Is(err, vault.ErrNoWrapped) {
		return settled(err, textNoWrapped)
	}
	return a.rejected(r, err)
}

// wrapData answers with the body, wrapped.
func (a *API) wrapData(r *request) error {
	if _, ok := r.Writer.(*captured); !ok {
		return a.reject(r, invalid("endpoint requires response wrapping to be used"))
	}
	err := r.readFields(a.valueBody(), func(f fields) error {
		out := appendWrapData(r.Caller.RequestID, f)
		defer envelope.Wipe(out)
		send(r.Exchange, http.StatusOK, out)
		return nil
	})
	return a.rejected(r, err)
}
