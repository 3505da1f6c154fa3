package vault

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// LoginKind says how a login method recognises its clients.
type LoginKind string

// The kinds of login methods.
const (
	LoginAppRole     LoginKind = "approle" // a role id and a secret id
	LoginJWT         LoginKind = "jwt"     // a signed token of another issuer: Kubernetes, GitHub Actions, any OpenID provider
	LoginCertificate LoginKind = "cert"    // the client certificate of the TLS connection
)

// TokenType says what a login issues.
type TokenType string

const (
	// TokenService is a token with a row in the database: it can be renewed and revoked.
	TokenService TokenType = "service"
	// TokenBatch is a token that is stored nowhere. Any node opens it, also without the primary.
	TokenBatch TokenType = "batch"
)

// LoginMethod is a configured way to log in, under the mount name that its clients use. It holds no secret.
type LoginMethod struct {
	Mount       string
	Kind        LoginKind
	Description string
	Config      json.RawMessage // as the kind defines it
	Revision    int64           // raised by every change of the method
}

// LoginRole is what a client may log in as through a method. It holds no secret.
type LoginRole struct {
	ID          [16]byte // also the role id of an AppRole
	Mount       string
	Name        string
	Role        string // the SQL role that its tokens act as; "" = the role is missing here
	Config      json.RawMessage
	TokenTTL    time.Duration
	TokenMaxTTL time.Duration // 0 = the TTL; batch tokens cannot be renewed
	TokenType   TokenType
	Scopes      json.RawMessage // a JSON array; nil = no limit beyond the grants of Role
	BoundCIDRs  []netip.Prefix  // client addresses that may log in and use the tokens; none = every address
	ValidFrom   time.Time       // batch tokens issued before are not valid
}

// LoginSubject is who a login method recognised.
type LoginSubject struct {
	Name     string            // for people, such as the subject of a JWT; not unique
	Metadata map[string]string // of the answer; nothing in it is secret
}

// LoginVerifier checks what a client presents against a method and one of its roles. A refusal is a *LoginRefusal.
// Unavailable: the issuer's keys cannot be fetched and none are cached. Invalid: the method or the role is configured
// wrongly. Implementations are safe for concurrent use.
type LoginVerifier interface {
	// JWT checks signature, issuer, audience, lifetime and bound claims of a compact JWT.
	JWT(ctx context.Context, m LoginMethod, r LoginRole, raw string) (LoginSubject, error)
	// Certificate checks a certificate whose chain the TLS listener has verified.
	Certificate(m LoginMethod, r LoginRole, leaf *x509.Certificate) (LoginSubject, error)
}

// LoginCause says why a login was refused, for the audit log and the metrics. Clients are not told: they get one answer.
type LoginCause string

// The causes of refused logins.
const (
	CauseMethod      LoginCause = "login_method"      // no such mount
	CauseRole        LoginCause = "login_role"        // no such role, or its SQL role is missing
	CauseSecretID    LoginCause = "login_secret_id"   // unknown, expired, used up or destroyed
	CauseAddress     LoginCause = "login_address"     // the role or the secret id is bound to other addresses
	CauseMalformed   LoginCause = "login_malformed"   // not a JWT, or one with a refused algorithm
	CauseSignature   LoginCause = "login_signature"   // no key of the issuer made this signature
	CauseIssuer      LoginCause = "login_issuer"      // signed for another issuer
	CauseAudience    LoginCause = "login_audience"    // meant for another audience
	CauseLifetime    LoginCause = "login_lifetime"    // expired, not valid yet, or without an end
	CauseClaims      LoginCause = "login_claims"      // a bound claim is missing or has another value
	CauseCertificate LoginCause = "login_certificate" // none, expired, or none that the role allows
)

// LoginRefusal is a login that was refused. Its text is the same for every cause, and it unwraps to Unauthenticated.
type LoginRefusal struct{ Cause LoginCause }

// errLogin is the one answer to a refused login.
var errLogin = core.Errorf(core.Unauthenticated, "the login was refused")

// Error returns a constant.
func (*LoginRefusal) Error() string { return errLogin.Error() }

// Unwrap returns an Unauthenticated error.
func (*LoginRefusal) Unwrap() error { return errLogin }
