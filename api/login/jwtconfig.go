package login

import (
	"crypto/x509"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/core"
)

// algorithms are the signatures that are accepted. All are asymmetric: with HMAC, who knows a public key could sign.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

const (
	defaultSkew = 60
	maxSkew     = 300
)

// jwtMethod is the settings of a JWT method. Exactly one of StaticKeys, JWKSURL and DiscoveryURL is given.
type jwtMethod struct {
	Issuer       string
	StaticKeys   []jose.JSONWebKey
	JWKSURL      string
	DiscoveryURL string         // of the issuer, without /.well-known/openid-configuration
	Roots        *x509.CertPool // who may have signed the certificate of these URLs; nil = the system's authorities
	Audiences    []string       // for roles that name none
	Algorithms   []jose.SignatureAlgorithm
	Skew         time.Duration // that the clocks may differ by
	DefaultRole  string
	ReviewURL    string // of the Kubernetes API server that is asked about each token; "" = none is
	ReviewToken  string // the file with the token that is presented to it; "" = the client's own token
}

// jwtMethodText is how the settings of a JWT method are written.
type jwtMethodText struct {
	Issuer       string   `json:"issuer"`
	StaticKeys   []string `json:"static_keys"` // public keys in PEM
	JWKSURL      string   `json:"jwks_url"`
	DiscoveryURL string   `json:"discovery_url"`
	CAPEM        string   `json:"ca_pem"`
	Audiences    []string `json:"bound_audiences"`
	Algorithms   []string `json:"algorithms"`
	Skew         *int64   `json:"clock_skew_secs"`
	DefaultRole  string   `json:"default_role"`
	ReviewURL    string   `json:"token_review_url"`
	ReviewToken  string   `json:"token_review_token_file"`
}

func parseJWTMethod(config json.RawMessage) (jwtMethod, error) {
	var raw jwtMethodText
	if err := decode(config, &raw); err != nil {
		return jwtMethod{}, err
	}
	if err := checkText("issuer", raw.Issuer); err != nil {
		return jwtMethod{}, err
	}
	if err := checkTexts("bound_audiences", raw.Audiences); err != nil {
		return jwtMethod{}, err
	}
	skew, err := inRange("clock_skew_secs", raw.Skew, defaultSkew, 0, maxSkew)
	if err != nil {
		return jwtMethod{}, err
	}
	if err := checkReview(raw.ReviewURL, raw.ReviewToken); err != nil {
		return jwtMethod{}, err
	}
	m := jwtMethod{
		ReviewURL: raw.ReviewURL, ReviewToken: raw.ReviewToken,
		Issuer: raw.Issuer, JWKSURL: raw.JWKSURL, DiscoveryURL: raw.DiscoveryURL, Audiences: raw.Audiences,
		Skew: time.Duration(skew) * time.Second, DefaultRole: raw.DefaultRole,
	}
	if m.Algorithms, err = parseAlgorithms(raw.Algorithms); err != nil {
		return jwtMethod{}, err
	}
	return m, m.parseSource(raw)
}

// parseSource reads where the issuer's keys come from.
func (m *jwtMethod) parseSource(raw jwtMethodText) (err error) {
	given := 0
	for _, is := range []bool{len(raw.StaticKeys) > 0, raw.JWKSURL != "", raw.DiscoveryURL != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return core.Errorf(core.Invalid, "a JWT method needs one of static_keys, jwks_url and discovery_url")
	}
	for name, u := range map[string]string{"jwks_url": raw.JWKSURL, "discovery_url": raw.DiscoveryURL} {
		if u != "" {
			if err := checkSourceURL(name, u); err != nil {
				return err
			}
		}
	}
	if raw.CAPEM != "" {
		m.Roots = x509.NewCertPool()
		if strings.Contains(raw.CAPEM, "PRIVATE KEY") || !m.Roots.AppendCertsFromPEM([]byte(raw.CAPEM)) {
			return core.Errorf(core.Invalid, "ca_pem needs certificates in PEM, and nothing else")
		}
	}
	m.StaticKeys, err = parseStaticKeys(raw.StaticKeys)
	return err
}

// checkSourceURL allows https, and what a node may allow besides: http to a loopback address, and files.
func checkSourceURL(name, text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > 2048 || u.User != nil || u.Fragment != "" || !isSecure(u) && !isLocal(u) {
		return core.Errorf(core.Invalid, "%s must be an https URL without user or fragment", name)
	}
	return nil
}

func parseAlgorithms(names []string) ([]jose.SignatureAlgorithm, error) {
	if len(names) == 0 {
		return algorithms, nil
	}
	var found []jose.SignatureAlgorithm
	for _, n := range names {
		a := jose.SignatureAlgorithm(n)
		if !slices.Contains(algorithms, a) {
			return nil, core.Errorf(core.Invalid, "algorithms: %s is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, "+
				"ES384, ES512 and EdDSA", core.Quote(n))
		}
		found = append(found, a)
	}
	return found, nil
}

// jwtRole is the settings of a role of a JWT method. Everything that is given must match.
type jwtRole struct {
	Audiences []string             `json:"bound_audiences"` // the token names one of them; none = those of the method
	Subject   string               `json:"bound_subject"`   // exact; "" = any
	Claims    map[string]claimList `json:"bound_claims"`    // each claim has one of the values
	Globs     map[string]claimList `json:"bound_claims_glob"`
	NameClaim string               `json:"user_claim"`   // whose value names the login; "" = sub
	MaxAge    *int64               `json:"max_age_secs"` // since the token was issued; null = as long as it lives
}

const maxAgeLimit = 366 * 24 * 60 * 60

func parseJWTRole(config json.RawMessage, m jwtMethod) (r jwtRole, err error) {
	if err := decode(config, &r); err != nil {
		return r, err
	}
	if len(r.Audiences) == 0 {
		r.Audiences = m.Audiences
	}
	if len(r.Audiences) == 0 {
		return r, core.Errorf(core.Invalid, "bound_audiences is required: of the role, or of its method")
	}
	if err := checkTexts("bound_audiences", r.Audiences); err != nil {
		return r, err
	}
	if r.Subject == "" && len(r.Claims) == 0 && len(r.Globs) == 0 {
		return r, core.Errorf(core.Invalid, "a role of a JWT method needs bound_subject, bound_claims or bound_claims_glob: "+
			"without one, every token of the issuer would be let in")
	}
	if err := checkClaims("bound_claims", r.Claims, checkTexts); err != nil {
		return r, err
	}
	if err := checkClaims("bound_claims_glob", r.Globs, checkPatterns); err != nil {
		return r, err
	}
	if r.NameClaim == "" {
		r.NameClaim = "sub"
	}
	_, err = inRange("max_age_secs", r.MaxAge, 0, 1, maxAgeLimit)
	return r, err
}

func checkClaims(name string, claims map[string]claimList, check func(string, []string) error) error {
	if len(claims) > maxList {
		return core.Errorf(core.Invalid, "%s has %d members, the limit is %d", name, len(claims), maxList)
	}
	for claim, values := range claims {
		if claim == "" || len(claim) > maxText || len(values) == 0 {
			return core.Errorf(core.Invalid, "%s needs claims, and at least one value of each", name)
		}
		if err := check(name, values); err != nil {
			return err
		}
	}
	return nil
}
