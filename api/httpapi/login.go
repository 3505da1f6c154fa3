package httpapi

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// The login routes speak the protocol of HashiCorp Vault and OpenBao, so that their clients can log in: PUT or POST, with
// or without a content type, unknown fields ignored, and errors as {"errors": [...]}.

// maxLoginBody bounds the body of a login.
const maxLoginBody = 64 << 10

// vaultErrors is an error answer of that protocol.
type vaultErrors struct {
	Errors []string `json:"errors"`
}

// vaultEnvelope is an answer of that protocol. Its other members are constants to us.
type vaultEnvelope struct {
	RequestID     string     `json:"request_id"`
	LeaseID       string     `json:"lease_id"`
	Renewable     bool       `json:"renewable"`
	LeaseDuration int64      `json:"lease_duration"`
	Data          any        `json:"data"`
	WrapInfo      any        `json:"wrap_info"`
	Warnings      []string   `json:"warnings"`
	Auth          *vaultAuth `json:"auth"`
}

type vaultAuth struct {
	ClientToken    string            `json:"client_token"`
	Accessor       string            `json:"accessor"`
	Policies       []string          `json:"policies"`
	TokenPolicies  []string          `json:"token_policies"`
	Metadata       map[string]string `json:"metadata"`
	LeaseDuration  int64             `json:"lease_duration"`
	Renewable      bool              `json:"renewable"`
	EntityID       string            `json:"entity_id"`
	TokenType      vault.TokenType   `json:"token_type"`
	Orphan         bool              `json:"orphan"`
	MFARequirement any               `json:"mfa_requirement"`
	NumUses        int               `json:"num_uses"`
}

// login answers PUT and POST /v1/auth/{mount}/login.
func (s *server) login(c *gin.Context) {
	defer s.extend(c)() // it may write a token
	if err := checkVaultHeaders(c.Request.Header); err != nil {
		s.failLogin(c, s.Vault.RefuseLogin(c.Request.Context(), callerOf(c), err), false)
		return
	}
	body, err := s.readBody(c, vault.ActionLogin, maxLoginBody)
	defer func() { envelope.Wipe(body) }()
	r := vault.LoginRequest{Mount: c.Param("mount"), Certificate: peerCertificate(c.Request)}
	appRole := false
	if err == nil {
		appRole, err = decodeLogin(body, &r)
	}
	if err != nil {
		s.failLogin(c, s.Vault.RefuseLogin(c.Request.Context(), callerOf(c), err), appRole)
		return
	}
	made, err := s.Vault.Login(c.Request.Context(), callerOf(c), r)
	if err != nil {
		s.failLogin(c, err, appRole)
		return
	}
	s.answerLogin(c, made)
}

// checkVaultHeaders refuses what would have to change the answer and is not supported: a client that asks for a wrapped
// answer must not get the token in the clear.
func checkVaultHeaders(h http.Header) error {
	if h.Get("X-Vault-Wrap-Ttl") != "" {
		return core.Errorf(core.Invalid, "response wrapping is not supported")
	}
	if ns := strings.Trim(h.Get("X-Vault-Namespace"), "/"); ns != "" && ns != "root" {
		return core.Errorf(core.NotFound, "namespace not found")
	}
	return nil
}

// decodeLogin reads the body of a login of any method. It may be empty, as with a certificate.
func decodeLogin(body []byte, r *vault.LoginRequest) (appRole bool, err error) {
	if text := bytes.TrimSpace(body); len(text) == 0 || string(text) == "null" { // which makes no copy
		return false, nil
	}
	o, err := parseObject(body, nil)
	if err != nil {
		return false, core.Errorf(core.Invalid, "failed to decode JSON input")
	}
	_, appRole = o["role_id"]
	var texts [5]string
	for i, field := range []string{"role_id", "role", "name", "secret_id", "jwt"} {
		if texts[i], err = o.text(field); err != nil {
			return appRole, err
		}
	}
	for _, name := range texts[:3] {
		if r.Role == "" {
			r.Role = name
		}
	}
	r.SecretID, r.JWT = vault.Bearer(texts[3]), vault.Bearer(texts[4])
	return appRole, nil
}

// peerCertificate is the client's certificate if its chain was verified by the listener.
func peerCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

func (s *server) answerLogin(c *gin.Context, l vault.LoginResult) {
	auth := &vaultAuth{
		ClientToken: l.Token.Reveal(), Policies: []string{l.Role}, TokenPolicies: []string{l.Role}, Metadata: l.Metadata,
		LeaseDuration: int64(l.TTL.Seconds()), Renewable: l.Renewable, TokenType: l.Type, Orphan: true,
	}
	if l.Accessor != (vault.TokenID{}) {
		auth.Accessor = l.Accessor.String()
	}
	body, err := json.Marshal(vaultEnvelope{RequestID: callerOf(c).RequestID, Auth: auth})
	if err != nil {
		s.failLogin(c, core.Wrap(core.Internal, err, "encode the answer"), false)
		return
	}
	defer envelope.Wipe(body)
	send(c, http.StatusOK, body)
}

// failLogin answers err. A refusal has one text, whatever its cause; the log has the cause.
func (s *server) failLogin(c *gin.Context, err error, appRole bool) {
	p := s.problemOf(c, err)
	text := p.Detail
	if text == "" {
		text = http.StatusText(p.Status)
	}
	if p.Status == http.StatusUnauthorized {
		p.Status = http.StatusBadRequest // there is no 401 in that protocol
		text = "permission denied"
		if appRole {
			text = "invalid role or secret ID"
		}
	}
	if r, ok := errors.AsType[*vault.LoginRefusal](err); ok {
		caller := callerOf(c)
		s.Log.LogAttrs(c.Request.Context(), slog.LevelInfo, "login refused", slog.String("cause", string(r.Cause)),
			slog.String("client_ip", caller.Addr.String()), slog.String("request_id", caller.RequestID))
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		c.Writer.Header().Set("Retry-After", "1")
	}
	s.answer(c, p.Status, vaultErrors{Errors: []string{text}})
	c.Abort()
}
