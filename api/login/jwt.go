package login

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// MaxJWTLen bounds a JWT that is parsed.
const MaxJWTLen = 16 << 10

func refuse(cause vault.LoginCause) error { return &vault.LoginRefusal{Cause: cause} }

// JWT implements vault.LoginVerifier. The signature is checked before anything that the token says.
func (v *Verifier) JWT(ctx context.Context, m vault.LoginMethod, r vault.LoginRole, raw string) (vault.LoginSubject, error) {
	if !isCompact(raw) {
		return vault.LoginSubject{}, refuse(vault.CauseLoginMalformed)
	}
	issuer, err := v.issuerOf(m)
	if err != nil {
		return vault.LoginSubject{}, err
	}
	role, err := parseJWTRole(r.Config, issuer.method)
	if err != nil {
		return vault.LoginSubject{}, err
	}
	token, c, err := issuer.verify(ctx, raw)
	if err != nil {
		return vault.LoginSubject{}, err
	}
	if cause := judge(token, c, issuer.method, role, v.c.Clock()); cause != "" {
		return vault.LoginSubject{}, refuse(cause)
	}
	if issuer.review != nil {
		if err := issuer.review.check(ctx, raw, token, role); err != nil {
			return vault.LoginSubject{}, err
		}
	}
	return subjectOf(c, role, r.Name)
}

// isCompact reports whether raw is spelt as a compact JWT. The parsers below would also take the JSON serialization.
func isCompact(raw string) bool {
	return len(raw) <= MaxJWTLen && strings.Count(raw, ".") == 2 && !strings.ContainsFunc(raw, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	})
}

// verify parses the token and checks its signature.
func (i *issuer) verify(ctx context.Context, raw string) (*oidc.IDToken, claims, error) {
	names := make([]string, len(i.method.Algorithms))
	for n, a := range i.method.Algorithms {
		names[n] = string(a)
	}
	keys := &keyCall{keySet: i.keys}
	// Issuer, audience and lifetime are judged here, with the method's skew and with a cause for each.
	t, err := oidc.NewVerifier(i.method.Issuer, keys, &oidc.Config{
		SupportedSigningAlgs: names, SkipClientIDCheck: true, SkipExpiryCheck: true, SkipIssuerCheck: true,
	}).Verify(ctx, raw)
	switch {
	case keys.err != nil:
		return nil, nil, keys.err
	case err != nil:
		return nil, nil, refuse(vault.CauseLoginMalformed)
	}
	c, ok := parseClaims(keys.payload)
	if !ok {
		return nil, nil, refuse(vault.CauseLoginMalformed)
	}
	return t, c, nil
}

// keyCall keeps what the key set returned for one token: go-oidc passes on the text of an error alone.
type keyCall struct {
	*keySet
	payload []byte
	err     error
}

// VerifySignature implements oidc.KeySet.
func (k *keyCall) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	k.payload, k.err = k.keySet.VerifySignature(ctx, raw)
	return k.payload, k.err
}

// judge returns why a token with a good signature is refused, or "".
func judge(t *oidc.IDToken, c claims, m jwtMethod, r jwtRole, now time.Time) vault.LoginCause {
	switch {
	case t.Issuer != m.Issuer:
		return vault.CauseLoginIssuer
	case !slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(r.Audiences, a) }):
		return vault.CauseLoginAudience
	case !alive(t, c, m.Skew, r.MaxAge, now):
		return vault.CauseLoginLifetime
	case r.Subject != "" && t.Subject != r.Subject:
		return vault.CauseLoginClaims
	case !c.satisfy(r.Claims, func(want, have string) bool { return want == have }), !c.satisfy(r.Globs, glob):
		return vault.CauseLoginClaims
	}
	return ""
}

// alive reports whether now, give or take skew, is within the token's life. The end of a token without one is the zero time.
func alive(t *oidc.IDToken, c claims, skew time.Duration, maxAge *int64, now time.Time) bool {
	if !now.Before(t.Expiry.Add(skew)) {
		return false
	}
	if _, given := c["nbf"]; given {
		begin, ok := c.instant("nbf")
		if !ok || now.Before(begin.Add(-skew)) {
			return false
		}
	}
	if _, given := c["iat"]; given && now.Before(t.IssuedAt.Add(-skew)) {
		return false
	}
	if maxAge == nil {
		return true
	}
	return !t.IssuedAt.IsZero() && now.Before(t.IssuedAt.Add(skew+time.Duration(*maxAge)*time.Second))
}

// instant reads a claim of seconds since 1970.
func (c claims) instant(name string) (time.Time, bool) {
	n, ok := c[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// subjectOf names the login after the claim that the role says. A token without it is refused.
func subjectOf(c claims, r jwtRole, role string) (vault.LoginSubject, error) {
	names := c.values(r.NameClaim)
	if len(names) != 1 || names[0] == "" {
		return vault.LoginSubject{}, refuse(vault.CauseLoginClaims)
	}
	name := printable(names[0])
	return vault.LoginSubject{Name: name, Metadata: map[string]string{"role": role, "subject": name}}, nil
}

const maxNameLen = 255

// printable makes what an issuer signed fit for audit records and answers: it keeps printable ASCII and shows every
// other byte as '?'.
func printable(s string) string {
	b := []byte(s[:min(len(s), maxNameLen)])
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b)
}

// DefaultRole returns the role of a JWT method for clients that name none; "" = it has none.
func DefaultRole(m vault.LoginMethod) (string, error) {
	if m.Kind != vault.LoginJWT {
		return "", nil
	}
	parsed, err := parseJWTMethod(m.Config)
	return parsed.DefaultRole, err
}
