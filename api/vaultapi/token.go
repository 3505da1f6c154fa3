package vaultapi

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

const (
	typeService = "service"
	typeBatch   = "batch"
)

// tokenBody is what is known of a token. Its times agree with those of a renewal: an agent that sees a longer life here
// than it gets there would log in again and again.
type tokenBody struct {
	Accessor       string            `json:"accessor"`
	CreationTime   int64             `json:"creation_time"`
	CreationTTL    int64             `json:"creation_ttl"`
	DisplayName    string            `json:"display_name"`
	EntityID       string            `json:"entity_id"`
	ExpireTime     *string           `json:"expire_time"`
	ExplicitMaxTTL int64             `json:"explicit_max_ttl"`
	ID             string            `json:"id"`
	IssueTime      string            `json:"issue_time"`
	Meta           map[string]string `json:"meta"`
	NumUses        int               `json:"num_uses"`
	Orphan         bool              `json:"orphan"`
	Path           string            `json:"path"`
	Policies       []string          `json:"policies"`
	Renewable      bool              `json:"renewable"`
	TTL            int64             `json:"ttl"`
	Type           string            `json:"type"`
}

func tokenBodyOf(t vault.TokenInfo, text vault.Bearer) tokenBody {
	out := tokenBody{
		Accessor: accessorOf(t), CreationTime: t.CreatedAt.Unix(), DisplayName: t.Name, ID: string(text), IssueTime: timeText(t.CreatedAt),
		Orphan: t.Parent == (vault.TokenID{}), Path: "auth/token/create", Policies: []string{t.Role}, Renewable: renewable(t),
		TTL: ttlOf(t), Type: typeService,
	}
	if t.Method != "token" {
		out.Path = "auth/" + t.Method + "/login"
	}
	if out.Accessor == "" {
		out.Type = typeBatch
	}
	if !t.ExpiresAt.IsZero() {
		end := timeText(t.ExpiresAt)
		out.ExpireTime, out.CreationTTL = &end, creationTTL(t)
	}
	if !t.MaxExpiresAt.IsZero() {
		out.ExplicitMaxTTL = seconds(t.CreatedAt, t.MaxExpiresAt)
	}
	return out
}

func creationTTL(t vault.TokenInfo) int64 {
	if t.TTL > 0 {
		return int64(t.TTL / time.Second)
	}
	return seconds(t.CreatedAt, t.ExpiresAt)
}

func accessorOf(t vault.TokenInfo) string {
	if t.ID == (vault.TokenID{}) {
		return ""
	}
	return t.ID.String()
}

// renewable is false for a token without an end: there is nothing to renew, and clients take a renewal that yields 0
// seconds for a failure.
func renewable(t vault.TokenInfo) bool { return t.Renewable && !t.ExpiresAt.IsZero() }

// ttlOf returns the seconds to the end of a token, 0 for one without an end. They are counted by the clock of the server that
// answered, because servers decide when a token has ended.
func ttlOf(t vault.TokenInfo) int64 {
	if t.ExpiresAt.IsZero() {
		return 0
	}
	return seconds(t.Now, t.ExpiresAt)
}

func (a *API) lookupSelf(r *request) error {
	if err := a.paced(r); err != nil {
		return err
	}
	caller, err := r.Reader()
	if err != nil {
		return a.reject(r, err)
	}
	t, err := a.vault.Token(r.Request.Context(), caller, vault.TokenID{})
	if err != nil {
		return err
	}
	r.answerData(tokenBodyOf(t, r.Caller.Bearer))
	return nil
}

func (a *API) renewSelf(r *request) error {
	if err := a.paced(r); err != nil {
		return err
	}
	return a.readAndRenew(r, func(fields) (vault.Caller, vault.TokenID, error) { return r.Caller, vault.TokenID{}, nil }, "increment")
}

// readAndRenew renews the token that whose names.
func (a *API) readAndRenew(r *request, whose func(fields) (vault.Caller, vault.TokenID, error), known ...string) error {
	err := r.readFields(maxBody, func(f fields) error {
		increment, err := f.duration("increment")
		if err != nil {
			return err
		}
		by, id, err := whose(f)
		if err != nil {
			return err
		}
		return a.renewToken(r, by, id, increment, f.warnings(known...))
	})
	return a.rejected(r, err)
}

// rejected hands an error about what the body says to the door, and passes on any other.
func (a *API) rejected(r *request, err error) error {
	if _, ok := err.(*answerError); ok && core.CodeOf(err) == core.Invalid {
		return a.reject(r, err)
	}
	return err
}

func (a *API) renewToken(r *request, by vault.Caller, id vault.TokenID, increment time.Duration, warnings []string) error {
	if token.IsBatch(string(by.Bearer)) && id == (vault.TokenID{}) {
		return invalid("batch tokens cannot be renewed")
	}
	t, err := a.vault.RenewToken(r.Request.Context(), by, id, increment)
	if core.CodeOf(err) == core.Invalid {
		return failure(http.StatusBadRequest, core.Internal, "lease is not renewable") // recorded already
	}
	if err != nil {
		return err
	}
	r.setIndex(t.Position)
	auth := authOf(t)
	if id == (vault.TokenID{}) {
		auth.ClientToken = string(by.Bearer)
	}
	wanted := increment
	if wanted == 0 {
		wanted = t.TTL
	}
	if secs := int64(wanted / time.Second); secs > auth.LeaseDuration+1 {
		warnings = append(warnings, fmt.Sprintf("TTL of %q exceeded the effective max_ttl of %q; TTL value is capped accordingly",
			durationText(secs), durationText(auth.LeaseDuration)))
	}
	r.answer(body{Auth: auth, Warnings: warnings})
	return nil
}

func authOf(t vault.TokenInfo) *authBody {
	return &authBody{
		Accessor: accessorOf(t), Policies: []string{t.Role}, TokenPolicies: []string{t.Role}, LeaseDuration: ttlOf(t),
		Renewable: renewable(t), TokenType: typeService, Orphan: t.Parent == (vault.TokenID{}),
	}
}

func (a *API) revokeSelf(r *request) error {
	err := r.readFields(maxBody, func(f fields) error { return a.endToken(r, r.Caller, vault.TokenID{}, f.warnings()) })
	return a.rejected(r, err)
}

func (a *API) endToken(r *request, by vault.Caller, id vault.TokenID, warnings []string) error {
	if token.IsBatch(string(by.Bearer)) && id == (vault.TokenID{}) {
		return invalid("batch tokens cannot be revoked")
	}
	at, err := a.vault.EndToken(r.Request.Context(), by, id)
	if err != nil {
		return err
	}
	r.setIndex(at)
	r.answerNothing(warnings...)
	return nil
}

// holder returns the caller with the token that a body names. A caller with the text of a token may do all that its holder
// may; the caller needs a valid one of its own beside it.
func (a *API) holder(r *request, f fields) (vault.Caller, error) {
	text, err := f.text("token")
	if err != nil {
		return vault.Caller{}, err
	}
	by := r.Caller
	if text == "" {
		return by, nil
	}
	if _, err := a.vault.Token(r.Request.Context(), by, vault.TokenID{}); err != nil {
		return by, err
	}
	by.Bearer = vault.Bearer(text)
	return by, nil
}

// accessor returns the token that a body names.
func accessor(f fields) (vault.TokenID, error) {
	text, err := f.text("accessor")
	if err != nil {
		return vault.TokenID{}, err
	}
	id, err := vault.ParseTokenID(strings.ToLower(text))
	if err != nil {
		return vault.TokenID{}, invalid("invalid accessor")
	}
	return id, nil
}
