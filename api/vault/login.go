package vault

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// LoginRequest is what a client presents to log in. Texts are unchecked.
type LoginRequest struct {
	Mount       string
	Role        string            // its name, or id for an AppRole; "" = the default, or with a certificate, any
	SecretID    Bearer            // of an AppRole
	JWT         Bearer            // of a JWT method
	Certificate *x509.Certificate // of the connection, whose chain its listener has verified; nil = none
	// Password is that of the user whom Role names, in any case; nil = it is no login by password. The caller wipes it.
	Password []byte
}

// LoginResult is what a login issues.
type LoginResult struct {
	Token     token.Token
	Type      TokenType
	Accessor  TokenID // zero for a batch token: it cannot be named
	Role      string  // the SQL role that the token acts as
	TTL       time.Duration
	Renewable bool
	Metadata  map[string]string
}

// actorLogin begins the actor of a login: the login role's name follows.
const actorLogin = "login:"

// maxCredential bounds a secret id or JWT that is hashed or parsed.
const maxCredential = 16 << 10

// Login checks what a client presents and issues a token. It needs no token and no allowed address: what it issues is
// subject to both. Every refusal is Unauthenticated with one text, and clients that are refused too often are rationed,
// apart from their other requests. Errors: Unauthenticated, TooMany, Unavailable, Internal (the method is configured
// wrongly).
func (v *Vault) Login(ctx context.Context, c Caller, r LoginRequest) (LoginResult, error) {
	c.Bearer = "" // it has no meaning here
	a := v.try(c, ActionLogin, "", 0)
	var out LoginResult
	err := a.run(ctx, admitAll, a.rationedLogin(func(ctx context.Context) error {
		check := v.checkLogin
		if r.Password != nil {
			check = v.checkPassword
		}
		l, err := check(ctx, a, r)
		if err == nil {
			out, err = v.issue(ctx, a, r, l)
		}
		v.logins.count(l.found.Method.Kind, err)
		return err
	}))
	if err != nil {
		return LoginResult{}, err
	}
	return out, nil
}

// RefuseLogin settles a login that its transport could not read. It counts as refused. cause is returned, unless the client
// was refused too often.
func (v *Vault) RefuseLogin(ctx context.Context, c Caller, cause error) error {
	c.Bearer = ""
	a := v.try(c, ActionLogin, "", 0)
	refusal := &LoginRefusal{Cause: CauseLoginMalformed}
	err := a.run(ctx, admitAll, a.rationedLogin(func(context.Context) error { return refusal }))
	v.logins.count("", refusal)
	if errors.Is(err, refusal) {
		return cause
	}
	return err
}

// rationedLogin is act for clients of whose network not too many logins were refused.
func (a *attempt) rationedLogin(act func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		r, at := a.v.refusedLogins, a.v.c.Clock()
		tooMany := func() error {
			a.unrecorded = !r.Notice(a.caller.Addr, at)
			return core.Errorf(core.TooMany, "too many logins of this client were refused")
		}
		if r.Empty(a.caller.Addr, at) {
			return tooMany()
		}
		err := act(ctx)
		if isRefusal(err) && !r.Take(a.caller.Addr, at) {
			return tooMany()
		}
		return err
	}
}

// checkedLogin is a login that was let in, or what is known of one that was not.
type checkedLogin struct {
	found   FoundLogin
	subject LoginSubject
}

// checkLogin queries the reader, and the primary about what the reader does not know: it may be new.
func (v *Vault) checkLogin(ctx context.Context, a *attempt, r LoginRequest) (checkedLogin, error) {
	if v.c.Logins == nil || v.c.Verifier == nil {
		return checkedLogin{}, &LoginRefusal{Cause: CauseLoginMethod}
	}
	l, err := v.judgeLogin(ctx, a, r, Freshness{})
	if refusal, ok := errors.AsType[*LoginRefusal](err); ok && refusal.unknown() {
		if again, aerr := v.judgeLogin(ctx, a, r, onPrimary); core.CodeOf(aerr) != core.Unavailable {
			return again, aerr
		}
	}
	return l, err
}

// unknown reports whether a standby that is behind may be what does not know the method, the role or the secret id.
func (r *LoginRefusal) unknown() bool {
	return r.Cause == CauseLoginMethod || r.Cause == CauseLoginRole || r.Cause == CauseLoginSecretID
}

func (v *Vault) judgeLogin(ctx context.Context, a *attempt, r LoginRequest, f Freshness) (checkedLogin, error) {
	if len(r.Mount) > maxNameText || len(r.Role) > maxNameText || len(r.SecretID) > maxCredential {
		return checkedLogin{}, &LoginRefusal{Cause: CauseLoginMalformed}
	}
	found, err := v.c.Logins.FindLogin(ctx, LoginQuery{
		Mount: r.Mount, Role: r.Role, SecretID: fingerprintOf(r.SecretID), Addr: a.by.Addr,
	}, f)
	if err != nil {
		return checkedLogin{}, err
	}
	l := checkedLogin{}
	err = &LoginRefusal{Cause: CauseLoginMethod}
	for _, x := range found { // several only for a certificate without a role's name
		l = checkedLogin{found: x}
		a.noteLogin(x)
		if l.subject, err = v.verifyLogin(ctx, x, r); err == nil {
			break
		}
	}
	return l, err
}

const maxNameText = 128

// noteLogin names what was found in the audit record.
func (a *attempt) noteLogin(x FoundLogin) {
	a.entry.Name = x.Method.Mount
	if x.Role.Name != "" {
		a.entry.Name += "/" + x.Role.Name
	}
	a.entry.Origin.Actor = strings.Join([]string{actorAnonymous, "", x.Method.Mount}, actorSeparator)
}

// actorSeparator parts the name, the accessor and the method in the actor of an origin; the schema makes columns of them.
const actorSeparator = "\x1f"

func fingerprintOf(b Bearer) (fp [32]byte) {
	if b == "" {
		return fp
	}
	return sha256.Sum256([]byte(b))
}

// verifyLogin checks what the client presents against one role.
func (v *Vault) verifyLogin(ctx context.Context, x FoundLogin, r LoginRequest) (LoginSubject, error) {
	refused := func(c LoginCause) (LoginSubject, error) { return LoginSubject{}, &LoginRefusal{Cause: c} }
	switch {
	case x.Role.ID == [16]byte{} || x.Role.Role == "":
		return refused(CauseLoginRole)
	case !x.AddressOK:
		return refused(CauseLoginAddress)
	}
	switch x.Method.Kind {
	case LoginAppRole:
		if x.SecretID != "" || r.SecretID == "" {
			return refused(cmp.Or(x.SecretID, CauseLoginSecretID))
		}
		return LoginSubject{Name: x.Role.Name, Metadata: map[string]string{"role_name": x.Role.Name}}, nil
	case LoginJWT:
		who, err := v.c.Verifier.JWT(ctx, x.Method, x.Role, string(r.JWT))
		return who, misconfigured(err)
	case LoginCertificate:
		who, err := v.c.Verifier.Certificate(x.Method, x.Role, r.Certificate)
		return who, misconfigured(err)
	}
	return refused(CauseLoginMethod)
}

// misconfigured turns what is wrong with the settings into an error that only the operator sees.
func misconfigured(err error) error {
	switch core.CodeOf(err) {
	case core.Invalid, core.TooLarge:
		return core.Wrap(core.Internal, err, "the login method is configured wrongly")
	}
	return err
}

// issue makes the token of a login that was let in.
func (v *Vault) issue(ctx context.Context, a *attempt, r LoginRequest, l checkedLogin) (LoginResult, error) {
	role := l.found.Role
	out := LoginResult{
		Type: role.TokenType, Role: role.Role, TTL: role.TokenTTL, Metadata: maps.Clone(l.subject.Metadata),
	}
	var secretID [32]byte
	if l.found.Method.Kind == LoginAppRole {
		secretID = fingerprintOf(r.SecretID)
	}
	name := loginTokenName(l)
	if role.TokenType == TokenBatch {
		err := v.issueBatch(ctx, a, l, secretID, name, &out)
		return out, err
	}
	made, err := token.New(rand.Reader)
	if err != nil {
		return out, err
	}
	id, err := core.NewSecretID(rand.Reader)
	if err != nil {
		return out, err
	}
	a.entry.Origin.Actor = loginActor(role, core.SecretID(id).String())
	info, err := v.c.Logins.LoginToken(ctx, role.ID, secretID, NewToken{
		ID: TokenID(id), Fingerprint: made.Fingerprint(), Name: name, Renewable: true,
	}, a.entry.Origin)
	if err != nil {
		return out, err
	}
	a.change = true // the store has recorded it
	out.Token, out.Accessor, out.Renewable, out.Role = made, info.ID, info.Renewable, info.Role
	if !info.ExpiresAt.IsZero() {
		out.TTL = info.ExpiresAt.Sub(info.CreatedAt)
	}
	return out, nil
}

func (v *Vault) issueBatch(ctx context.Context, a *attempt, l checkedLogin, secretID [32]byte, name string, out *LoginResult) (err error) {
	role := l.found.Role
	a.entry.Origin.Actor = loginActor(role, "")
	if l.found.Counted {
		if err := v.c.Logins.UseSecretID(ctx, role.ID, secretID, a.by.Addr); err != nil {
			return err
		}
	}
	now := v.c.Clock().UTC()
	claims := batchClaims{
		LoginRole: core.SecretID(role.ID).String(), ValidFrom: role.ValidFrom.UTC(), IssuedAt: now, ExpiresAt: now.Add(role.TokenTTL),
		Name: name, BoundCIDRs: textsOf(role.BoundCIDRs),
	}
	if role.Scope != nil {
		claims.Scopes = []Scope{role.Scope}
	}
	out.Token, err = v.sealBatch(ctx, claims, Author{Origin: a.entry.Origin, By: Itself()})
	return err
}

// loginActor is who the audit says has logged in: the role, with the accessor of its token, and the method.
func loginActor(role LoginRole, accessor string) string {
	return strings.Join([]string{actorLogin + role.Name, accessor, role.Mount}, actorSeparator)
}

// loginTokenName names a token after whom it was issued to, in the bytes that a token's name may have.
func loginTokenName(l checkedLogin) string {
	b := []byte(cmp.Or(l.subject.Name, l.found.Role.Name))
	b = b[:min(len(b), maxTokenName)]
	for i, c := range b {
		if !tokenName.Match([]byte{c}) {
			b[i] = '_'
		}
	}
	return string(b)
}

const maxTokenName = 64

func textsOf(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
