package login

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestJWT(t *testing.T) {
	ed, p256, p384, p521 := edKey(t), ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P521())
	m := staticMethod(t, rsaKey(), ed, p256, p384, p521)
	v := New(Config{Clock: newClock().now})
	for alg, key := range map[jose.SignatureAlgorithm]any{
		jose.RS256: rsaKey(), jose.RS384: rsaKey(), jose.RS512: rsaKey(), jose.PS256: rsaKey(), jose.PS384: rsaKey(), jose.PS512: rsaKey(),
		jose.ES256: p256, jose.ES384: p384, jose.ES512: p521, jose.EdDSA: ed,
	} {
		t.Run(string(alg), func(t *testing.T) {
			who, err := v.JWT(t.Context(), m, goodRole(t), signed(t, alg, key, "", goodClaims()))
			if err != nil || who.Name != "system:serviceaccount:shop:web" || who.Metadata["role"] != "web" {
				t.Fatalf("logged in as %+v, %v", who, err)
			}
		})
	}
}

// An attacker chooses the header. None of what it can say makes a forgery good.
func TestJWTForged(t *testing.T) {
	ed := edKey(t)
	m, v := staticMethod(t, rsaKey(), ed), New(Config{Clock: newClock().now})
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(config(t, v)) }
	claims := part(goodClaims())
	good := signed(t, jose.RS256, rsaKey(), "", goodClaims())
	goodParts := strings.Split(good, ".")
	other := edKey(t)
	embedded := jose.JSONWebKey{Key: other.Public(), KeyID: "x"}
	withHeader := func(header map[string]any) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: other}, &jose.SignerOptions{ExtraHeaders: extra(header)})
		if err != nil {
			t.Fatal(err)
		}
		jws, err := s.Sign(config(t, goodClaims()))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := jws.CompactSerialize()
		return raw
	}
	full, err := jose.ParseSignedCompact(good, algorithms)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  string
		want vault.LoginCause
	}{
		"AlgorithmNone":         {part(map[string]any{"alg": "none", "typ": "JWT"}) + "." + claims + ".", vault.CauseLoginMalformed},
		"AlgorithmNoneSpelt":    {part(map[string]any{"alg": "nOnE"}) + "." + claims + ".", vault.CauseLoginMalformed},
		"AlgorithmMissing":      {part(map[string]any{"typ": "JWT"}) + "." + claims + "." + goodParts[2], vault.CauseLoginMalformed},
		"HS256WithPublicKey":    {signed(t, jose.HS256, []byte(pemOf(t, rsaKey())), "", goodClaims()), vault.CauseLoginMalformed},
		"HS256WithRawPublicKey": {signed(t, jose.HS256, []byte(ed.Public().(ed25519.PublicKey)), "", goodClaims()), vault.CauseLoginMalformed},
		"KeyConfusion":          {part(map[string]any{"alg": "EdDSA"}) + "." + claims + "." + goodParts[2], vault.CauseLoginSignature},
		"AnotherKey":            {signed(t, jose.EdDSA, other, "", goodClaims()), vault.CauseLoginSignature},
		"KeyInHeader":           {withHeader(map[string]any{"jwk": embedded}), vault.CauseLoginSignature},
		"URLInHeader":           {withHeader(map[string]any{"jku": "https://attacker.example/keys"}), vault.CauseLoginSignature},
		"CriticalHeader":        {withHeader(map[string]any{"crit": []string{"exp"}, "exp": 1}), vault.CauseLoginSignature},
		"SignatureRemoved":      {goodParts[0] + "." + goodParts[1] + ".", vault.CauseLoginSignature},
		"ClaimsChanged":         {goodParts[0] + "." + part(goodClaims(map[string]any{"sub": "admin"})) + "." + goodParts[2], vault.CauseLoginSignature},
		"JSONSerialization":     {full.FullSerialize(), vault.CauseLoginMalformed},
		"Empty":                 {"", vault.CauseLoginMalformed},
		"TwoParts":              {goodParts[0] + "." + goodParts[1], vault.CauseLoginMalformed},
		"Encrypted":             {good + ".x.y", vault.CauseLoginMalformed},
		"Padded":                {goodParts[0] + "=." + goodParts[1] + "." + goodParts[2], vault.CauseLoginMalformed},
		"TooLong":               {good + strings.Repeat("A", MaxJWTLen), vault.CauseLoginMalformed},
		"ClaimsAreNoObject":     {signedPayload(t, ed, `["iss"]`), vault.CauseLoginMalformed},
		"ClaimsAreNoJSON":       {signedPayload(t, ed, `{"iss":`), vault.CauseLoginMalformed},
		"AudienceIsANumber":     {signed(t, jose.EdDSA, ed, "", goodClaims(map[string]any{"aud": 7})), vault.CauseLoginMalformed},
		"DistributedClaimsBad":  {signed(t, jose.EdDSA, ed, "", goodClaims(map[string]any{"_claim_names": map[string]string{"a": "b"}})), vault.CauseLoginMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.JWT(t.Context(), m, goodRole(t), c.raw)
			if got := causeOf(t, err); got != c.want {
				t.Errorf("cause is %q, want %q", got, c.want)
			}
			if core.CodeOf(err) != core.Unauthenticated || err.Error() != "the login was refused" {
				t.Errorf("the client would see %s: %v", core.CodeOf(err), err)
			}
		})
	}
}

func extra(header map[string]any) map[jose.HeaderKey]any {
	out := map[jose.HeaderKey]any{}
	for k, v := range header {
		out[jose.HeaderKey(k)] = v
	}
	return out
}

func signedPayload(t *testing.T, key any, payload string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A method that names algorithms takes no other, even of a key that it trusts.
func TestJWTAlgorithmsOfMethod(t *testing.T) {
	m := staticMethod(t, rsaKey())
	m.Config = config(t, map[string]any{
		"issuer": "https://issuer.example", "static_keys": []string{pemOf(t, rsaKey())}, "algorithms": []string{"PS256"},
	})
	v := New(Config{Clock: newClock().now})
	if _, err := v.JWT(t.Context(), m, goodRole(t), signed(t, jose.PS256, rsaKey(), "", goodClaims())); err != nil {
		t.Fatal(err)
	}
	_, err := v.JWT(t.Context(), m, goodRole(t), signed(t, jose.RS256, rsaKey(), "", goodClaims()))
	if got := causeOf(t, err); got != vault.CauseLoginMalformed {
		t.Errorf("cause is %q", got)
	}
}

func TestJWTClaims(t *testing.T) {
	ed := edKey(t)
	m := staticMethod(t, ed)
	v := New(Config{Clock: newClock().now})
	type with = map[string]any
	kubernetes := with{"kubernetes.io": with{"namespace": "shop", "serviceaccount": with{"name": "web"}, "a/b~c": "x"}}
	aud := with{"bound_audiences": []string{"vault", "other"}}
	role := func(more with) vault.LoginRole {
		c := with{}
		for k, v := range aud {
			c[k] = v
		}
		for k, v := range more {
			c[k] = v
		}
		return roleOf(t, c)
	}
	subject := with{"bound_subject": "system:serviceaccount:shop:web"}
	for name, c := range map[string]struct {
		claims, role with
		want         vault.LoginCause
	}{
		"OK":                     {nil, subject, ""},
		"AudienceInList":         {with{"aud": []string{"x", "other"}}, subject, ""},
		"ErrAudience":            {with{"aud": "else"}, subject, vault.CauseLoginAudience},
		"ErrAudienceIsPrefix":    {with{"aud": "vault2"}, subject, vault.CauseLoginAudience},
		"ErrAudienceList":        {with{"aud": []string{"x", "y"}}, subject, vault.CauseLoginAudience},
		"ErrAudienceEmpty":       {with{"aud": []string{}}, subject, vault.CauseLoginAudience},
		"ErrAudienceMissing":     {with{"aud": nil}, subject, vault.CauseLoginAudience},
		"ErrIssuer":              {with{"iss": "https://issuer.example/"}, subject, vault.CauseLoginIssuer},
		"ErrIssuerMissing":       {with{"iss": ""}, subject, vault.CauseLoginIssuer},
		"ErrSubject":             {with{"sub": "system:serviceaccount:shop:web2"}, subject, vault.CauseLoginClaims},
		"Exact":                  {with{"repository": "org/app"}, with{"bound_claims": with{"repository": "org/app"}}, ""},
		"ExactOneOf":             {with{"repository": "org/app"}, with{"bound_claims": with{"repository": []string{"org/x", "org/app"}}}, ""},
		"ErrExact":               {with{"repository": "org/app2"}, with{"bound_claims": with{"repository": "org/app"}}, vault.CauseLoginClaims},
		"ErrExactIsNoGlob":       {with{"repository": "org/app"}, with{"bound_claims": with{"repository": "org/*"}}, vault.CauseLoginClaims},
		"ErrCase":                {with{"repository": "Org/app"}, with{"bound_claims": with{"repository": "org/app"}}, vault.CauseLoginClaims},
		"ErrClaimMissing":        {nil, with{"bound_claims": with{"repository": "org/app"}}, vault.CauseLoginClaims},
		"ErrClaimNull":           {with{"repository": nil}, with{"bound_claims": with{"repository": "org/app"}}, vault.CauseLoginClaims},
		"ErrClaimObject":         {with{"repository": with{"a": "org/app"}}, with{"bound_claims": with{"repository": "org/app"}}, vault.CauseLoginClaims},
		"ErrOneOfTwoClaims":      {with{"a": "1", "b": "3"}, with{"bound_claims": with{"a": "1", "b": "2"}}, vault.CauseLoginClaims},
		"ListClaim":              {with{"groups": []string{"dev", "ops"}}, with{"bound_claims": with{"groups": "ops"}}, ""},
		"ErrListClaim":           {with{"groups": []string{"dev"}}, with{"bound_claims": with{"groups": "ops"}}, vault.CauseLoginClaims},
		"Bool":                   {with{"verified": true}, with{"bound_claims": with{"verified": true}}, ""},
		"ErrBool":                {with{"verified": false}, with{"bound_claims": with{"verified": true}}, vault.CauseLoginClaims},
		"Number":                 {with{"id": json.Number("12345678901234567890")}, with{"bound_claims": with{"id": json.Number("12345678901234567890")}}, ""},
		"ErrNumberCloseToAnothr": {with{"id": json.Number("12345678901234567891")}, with{"bound_claims": with{"id": json.Number("12345678901234567890")}}, vault.CauseLoginClaims},
		"Glob":                   {with{"ref": "refs/heads/release/1"}, with{"bound_claims_glob": with{"ref": "refs/heads/release/*"}}, ""},
		"ErrGlob":                {with{"ref": "refs/heads/main"}, with{"bound_claims_glob": with{"ref": "refs/heads/release/*"}}, vault.CauseLoginClaims},
		"ErrGlobAndExact":        {with{"ref": "refs/heads/release/1", "a": "2"}, with{"bound_claims_glob": with{"ref": "refs/heads/release/*"}, "bound_claims": with{"a": "1"}}, vault.CauseLoginClaims},
		"Pointer":                {kubernetes, with{"bound_claims": with{"/kubernetes.io/namespace": "shop", "/kubernetes.io/serviceaccount/name": "web"}}, ""},
		"PointerEscaped":         {kubernetes, with{"bound_claims": with{"/kubernetes.io/a~1b~0c": "x"}}, ""},
		"ErrPointer":             {kubernetes, with{"bound_claims": with{"/kubernetes.io/namespace": "other"}}, vault.CauseLoginClaims},
		"ErrPointerMissing":      {kubernetes, with{"bound_claims": with{"/kubernetes.io/x/y": "other"}}, vault.CauseLoginClaims},
		"ErrNameClaimMissing":    {nil, with{"bound_subject": "system:serviceaccount:shop:web", "user_claim": "email"}, vault.CauseLoginClaims},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.JWT(t.Context(), m, role(c.role), signed(t, jose.EdDSA, ed, "", goodClaims(c.claims)))
			if got := causeOf(t, err); got != c.want {
				t.Errorf("cause is %q, want %q", got, c.want)
			}
		})
	}
}

func TestJWTLifetime(t *testing.T) {
	ed := edKey(t)
	m := staticMethod(t, ed) // skew 60 s
	at := func(d time.Duration) int64 { return t0.Add(d).Unix() }
	for name, c := range map[string]struct {
		claims map[string]any
		maxAge int64
		good   bool
	}{
		"OK":                    {nil, 0, true},
		"JustExpiredWithinSkew": {map[string]any{"exp": at(-59 * time.Second)}, 0, true},
		"ErrExpiredAtSkew":      {map[string]any{"exp": at(-60 * time.Second)}, 0, false},
		"ErrExpiredLongAgo":     {map[string]any{"exp": at(-time.Hour)}, 0, false},
		"ErrNoEnd":              {map[string]any{"exp": gone}, 0, false},
		"ErrEndIsZero":          {map[string]any{"exp": 0}, 0, false},
		"ErrEndBeyondTime":      {map[string]any{"exp": json.Number("1e300")}, 0, false},
		"NotBeforeWithinSkew":   {map[string]any{"nbf": at(60 * time.Second)}, 0, true},
		"ErrNotBefore":          {map[string]any{"nbf": at(61 * time.Second)}, 0, false},
		"ErrNotBeforeIsHuge":    {map[string]any{"nbf": json.Number("1e300")}, 0, false},
		"NoNotBefore":           {map[string]any{"nbf": gone}, 0, true},
		"ErrNotBeforeIsNull":    {map[string]any{"nbf": nil}, 0, false},
		"IssuedWithinSkew":      {map[string]any{"iat": at(60 * time.Second)}, 0, true},
		"ErrIssuedInFuture":     {map[string]any{"iat": at(61 * time.Second)}, 0, false},
		"Young":                 {map[string]any{"iat": at(-299 * time.Second)}, 240, true},
		"ErrOld":                {map[string]any{"iat": at(-300 * time.Second)}, 240, false},
		"ErrAgeUnknown":         {map[string]any{"iat": gone}, 240, false},
	} {
		t.Run(name, func(t *testing.T) {
			role := map[string]any{"bound_audiences": []string{"vault"}, "bound_subject": "system:serviceaccount:shop:web"}
			if c.maxAge > 0 {
				role["max_age_secs"] = c.maxAge
			}
			v := New(Config{Clock: newClock().now})
			_, err := v.JWT(t.Context(), m, roleOf(t, role), signed(t, jose.EdDSA, ed, "", goodClaims(c.claims)))
			want := vault.LoginCause("")
			if !c.good {
				want = vault.CauseLoginLifetime
			}
			if got := causeOf(t, err); got != want {
				t.Errorf("cause is %q, want %q", got, want)
			}
		})
	}
}

// The signature is checked before anything else, so nothing of a forged token is believed, nor used to find out how a role
// is configured.
func TestJWTSignatureFirst(t *testing.T) {
	m, v := staticMethod(t, rsaKey()), New(Config{Clock: newClock().now})
	_, err := v.JWT(t.Context(), m, goodRole(t), signed(t, jose.EdDSA, edKey(t), "", goodClaims(map[string]any{"iss": "x", "aud": "y", "exp": 1})))
	if got := causeOf(t, err); got != vault.CauseLoginSignature {
		t.Errorf("cause is %q", got)
	}
}

func FuzzJWT(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJ4In0.AAAA")
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6IngifQ.e30.AAAA")
	key, err := json.Marshal(map[string]any{"issuer": "x", "jwks_url": "https://127.0.0.1:1/x"})
	if err != nil {
		f.Fatal(err)
	}
	v := New(Config{})
	m := vault.LoginMethod{Mount: "f", Kind: vault.LoginJWT, Config: key}
	v.issuers["f"] = &issuer{config: string(key), keys: &keySet{algorithms: algorithms, now: time.Now}}
	r := vault.LoginRole{Config: json.RawMessage(`{"bound_audiences":["a"],"bound_subject":"s"}`)}
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := v.JWT(t.Context(), m, r, raw); err == nil {
			t.Errorf("a token without a trusted key logs in: %q", raw)
		}
	})
}
