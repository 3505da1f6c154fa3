package vaultapi

import (
	"cmp"
	"crypto/x509"
	"net/http"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// login answers PUT and POST of auth/{mount}/login, for methods of every kind.
func (a *API) login(r *request) error {
	made := vault.LoginRequest{Mount: r.mount, Certificate: peerCertificate(r.Request)}
	refusal := textDenied
	err := r.readFields(maxBody, func(f fields) error {
		if f.given("role_id") {
			refusal = "invalid role or secret ID"
		}
		return decodeLogin(f, &made)
	})
	return a.logIn(r, made, err, refusal)
}

// loginPassword answers PUT and POST of auth/{mount}/login/{name}.
func (a *API) loginPassword(r *request) error {
	made := vault.LoginRequest{Mount: r.mount, Role: r.rest}
	defer func() { envelope.Wipe(made.Password) }()
	err := r.readFields(maxBody, func(f fields) (err error) {
		made.Password, err = f.bytes("password")
		return err
	})
	return a.logIn(r, made, err, "invalid username or password")
}

// logIn issues the token of a login. One that is refused gets the one text, whatever its cause; the log has the cause.
func (a *API) logIn(r *request, made vault.LoginRequest, err error, refusal string) error {
	if err != nil {
		return a.vault.RefuseLogin(r.Request.Context(), r.Caller, err)
	}
	l, err := a.vault.Login(r.Request.Context(), r.Caller, made)
	if core.CodeOf(err) == core.Unauthenticated {
		return &answerError{status: http.StatusBadRequest, texts: []string{refusal}, cause: core.Wrap(core.Unauthenticated, err, "%s", refusal)}
	}
	if err != nil {
		return err
	}
	auth := &authBody{
		ClientToken: l.Token.Reveal(), Policies: []string{l.Role}, TokenPolicies: []string{l.Role}, Metadata: l.Metadata,
		LeaseDuration: int64(l.TTL.Seconds()), Renewable: l.Renewable, TokenType: string(l.Type), Orphan: true,
	}
	if l.Accessor != (vault.TokenID{}) {
		auth.Accessor = l.Accessor.String()
	}
	r.answer(body{Auth: auth})
	return nil
}

// decodeLogin reads the body of a login of any method. It may be empty, as with a certificate.
func decodeLogin(f fields, r *vault.LoginRequest) error {
	var texts [5]string
	for i, field := range []string{"role_id", "role", "name", "secret_id", "jwt"} {
		var err error
		if texts[i], err = f.text(field); err != nil {
			return err
		}
	}
	r.Role = cmp.Or(texts[0], texts[1], texts[2])
	r.SecretID, r.JWT = vault.Bearer(texts[3]), vault.Bearer(texts[4])
	return nil
}

// peerCertificate is the client's certificate if its chain was verified by the listener.
func peerCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}
