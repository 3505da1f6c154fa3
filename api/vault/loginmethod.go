package vault

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/core"
)

// The actions of logins.
const (
	ActionLogin         Action = "login"          // the name is that of the mount and the role
	ActionAuthConfigure Action = "auth_configure" // a change of login methods, their roles and secret ids
	ActionAuthList      Action = "auth_list"      // a list of these
)

// LoginKind says how a login method recognises its clients.
type LoginKind string

// The kinds of login methods.
const (
	LoginAppRole     LoginKind = "approle"  // a role id and a secret id
	LoginJWT         LoginKind = "jwt"      // a signed token of another issuer: Kubernetes, GitHub Actions, any OpenID provider
	LoginCertificate LoginKind = "cert"     // the client certificate of the TLS connection
	LoginPassword    LoginKind = "userpass" // the name and the password of a person
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
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Position    core.Position // of the change that returned this; zero when it was read
}

// LoginRole is what a client may log in as through a method. It holds no secret.
type LoginRole struct {
	ID          [16]byte // also the role id of an AppRole; zero = none
	Mount       string
	Name        string
	Role        string // the SQL role that its tokens act as; "" = the role is missing here
	Config      json.RawMessage
	TokenTTL    time.Duration
	TokenMaxTTL time.Duration // 0 = the TTL; batch tokens cannot be renewed
	TokenType   TokenType
	Scope       Scope          // of its tokens; nil = no limit beyond the grants of Role
	BoundCIDRs  []netip.Prefix // client addresses that may log in and use the tokens; none = every address
	ValidFrom   time.Time      // batch tokens that were issued under an earlier value are not valid
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Position    core.Position // of the change that returned this; zero when it was read
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
	// CheckMethod and CheckRole return an Invalid error unless a config is what the kind needs.
	CheckMethod(kind LoginKind, config json.RawMessage) error
	CheckRole(kind LoginKind, method, config json.RawMessage) error
	// JWT checks signature, issuer, audience, lifetime and bound claims of a compact JWT.
	JWT(ctx context.Context, m LoginMethod, r LoginRole, raw string) (LoginSubject, error)
	// Certificate checks a certificate whose chain the TLS listener has verified.
	Certificate(m LoginMethod, r LoginRole, leaf *x509.Certificate) (LoginSubject, error)
}

// LoginCause says why a login was refused, for the audit log and the metrics. Clients are not told: they get one answer.
type LoginCause string

// The causes of refused logins.
const (
	CauseLoginMethod      LoginCause = "login_method"      // no such mount
	CauseLoginRole        LoginCause = "login_role"        // no such role, or its SQL role is missing
	CauseLoginSecretID    LoginCause = "login_secret_id"   // unknown, expired, used up or destroyed
	CauseLoginAddress     LoginCause = "login_address"     // the role or the secret id is bound to other addresses
	CauseLoginMalformed   LoginCause = "login_malformed"   // not a JWT, or one with a refused algorithm
	CauseLoginSignature   LoginCause = "login_signature"   // no key of the issuer made this signature
	CauseLoginIssuer      LoginCause = "login_issuer"      // signed for another issuer
	CauseLoginAudience    LoginCause = "login_audience"    // meant for another audience
	CauseLoginLifetime    LoginCause = "login_lifetime"    // expired, not valid yet, or without an end
	CauseLoginClaims      LoginCause = "login_claims"      // a bound claim is missing or has another value
	CauseLoginReview      LoginCause = "login_review"      // the Kubernetes cluster does not vouch for the token
	CauseLoginCertificate LoginCause = "login_certificate" // none, expired, or none that the role allows
	CauseLoginPassword    LoginCause = "login_password"    // it is not the user's, or the user has none
)

// LoginRefusal is a login that was refused. Its text is the same for every cause, and it unwraps to Unauthenticated.
type LoginRefusal struct{ Cause LoginCause }

// errLogin is the one answer to a refused login.
var errLogin = core.Errorf(core.Unauthenticated, "the login was refused")

// Error returns a constant.
func (*LoginRefusal) Error() string { return errLogin.Error() }

// Unwrap returns an Unauthenticated error.
func (*LoginRefusal) Unwrap() error { return errLogin }

// LoginQuery is what a client says of itself before anything is checked.
type LoginQuery struct {
	Mount    string
	Role     string   // its name, or id for an AppRole; "" = the default, or with a certificate, any
	SecretID [32]byte // SHA-256 of the presented secret id; zero = none
	Addr     netip.Addr
}

// FoundLogin is a role that a client may have meant, with what the store checks of a login.
type FoundLogin struct {
	Method    LoginMethod
	Role      LoginRole  // the zero ID = there is no such role
	AddressOK bool       // the client's address is one of the role's networks
	SecretID  LoginCause // why the secret id of an AppRole is not valid; "" = it is
	Counted   bool       // the secret id has a limited number of uses
	// Verifier is that of a user's password; "" = the user has none, or the method has no users.
	Verifier password.Verifier
}

// NewSecretID is a secret id to store. Its text is never stored.
type NewSecretID struct {
	ID          [16]byte // the accessor
	Fingerprint [32]byte
	TTL         time.Duration  // 0 = what the role says
	Uses        int64          // 0 = what the role says
	BoundCIDRs  []netip.Prefix // nil = what the role says
}

// SecretIDInfo is the metadata of a secret id.
type SecretIDInfo struct {
	ID         [16]byte // the accessor
	UsesLeft   int64    // -1 = any number
	BoundCIDRs []string
	CreatedAt  time.Time
	ExpiresAt  time.Time     // zero = never
	Position   core.Position // of the change that returned this; zero when it was read
}

// TokenKey is a key that seals batch tokens, as stored.
type TokenKey struct {
	ID [16]byte
	WrappedKey
	CreatedAt time.Time
}

// Logins is the part of a store that keeps login methods. What a REST caller changes or lists needs the right manage on
// all names. A method, role or secret id that is not there is NotFound.
type Logins interface {
	// FindLogin returns the roles that a client may mean, one without an ID when there is none of the method, and nothing when
	// there is no such method.
	FindLogin(ctx context.Context, q LoginQuery, f Freshness) ([]FoundLogin, error)
	// LoginToken stores the token that a login issues, within what the role allows; its TTL is the role's. With a secret id it
	// counts one use of it, in the same transaction; *LoginRefusal when that is not valid or used up.
	LoginToken(ctx context.Context, role [16]byte, secretID [32]byte, t NewToken, o Origin) (TokenInfo, error)
	// UseSecretID counts one use of a secret id; *LoginRefusal as above.
	UseSecretID(ctx context.Context, role [16]byte, secretID [32]byte, addr netip.Addr) error

	// TokenKeys returns the keys of batch tokens, newest first.
	TokenKeys(ctx context.Context, f Freshness) ([]TokenKey, error)
	// PutTokenKey stores a key unless another than the expected one is the newest; the zero id expects none.
	PutTokenKey(ctx context.Context, k TokenKey, expected [16]byte, by Author) (stored bool, at core.Position, err error)

	// LoginMethods returns all methods by mount, or the one of a mount.
	LoginMethods(ctx context.Context, by Credential, mount string, f Freshness) ([]LoginMethod, Identity, error)
	PutLoginMethod(ctx context.Context, m LoginMethod, by Author) (LoginMethod, error)
	DeleteLoginMethod(ctx context.Context, mount string, by Author) (core.Position, error)
	// LoginRoles returns the roles of a mount by name, or one.
	LoginRoles(ctx context.Context, by Credential, mount, name string, f Freshness) ([]LoginRole, Identity, error)
	PutLoginRole(ctx context.Context, r LoginRole, by Author) (LoginRole, error)
	DeleteLoginRole(ctx context.Context, mount, name string, by Author) (core.Position, error)
	// EndBatchTokens ends the batch tokens that a role has issued so far.
	EndBatchTokens(ctx context.Context, mount, name string, by Author) (LoginRole, error)
	// SecretIDs returns at most limit secret ids with accessors after the given one, in their order.
	SecretIDs(ctx context.Context, by Credential, mount, name string, after [16]byte, limit int, f Freshness) ([]SecretIDInfo, Identity, error)
	PutSecretID(ctx context.Context, mount, name string, s NewSecretID, by Author) (SecretIDInfo, error)
	DeleteSecretID(ctx context.Context, mount, name string, accessor [16]byte, by Author) (core.Position, error)

	// SetPassword sets the password of a user by its verifier. Who may is decided as for secret ids.
	SetPassword(ctx context.Context, mount, name string, v password.Verifier, by Author) (core.Position, error)
	// ReplaceVerifier replaces one verifier by another of the same password. If it is no longer that one, nothing changes.
	ReplaceVerifier(ctx context.Context, role [16]byte, was, becomes password.Verifier) error
}
