package login

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// maxIssuers bounds the methods whose keys are kept.
const maxIssuers = 256

// Config is what a Verifier is made of. The zero value is ready.
type Config struct {
	// LocalKeys allows key URLs that name this machine: files, and plain HTTP to a loopback address.
	LocalKeys bool
	Clock     vault.Clock // nil = the system's
}

// Verifier implements vault.LoginVerifier. It keeps the keys of each JWT method until the method changes.
type Verifier struct {
	c Config

	mu      sync.Mutex
	issuers map[string]*issuer // by mount
}

var _ vault.LoginVerifier = (*Verifier)(nil)

// issuer is a JWT method with the keys of its issuer.
type issuer struct {
	revision int64
	config   string
	method   jwtMethod
	keys     *keySet
	review   *review // nil = none
}

// New returns a Verifier. It fetches nothing before the first login.
func New(c Config) *Verifier {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Verifier{c: c, issuers: map[string]*issuer{}}
}

// issuerOf returns the issuer of a method. A changed method starts without keys, since they may come from elsewhere.
func (v *Verifier) issuerOf(m vault.LoginMethod) (*issuer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.issuers[m.Mount]
	if known != nil && known.revision == m.Revision && known.config == string(m.Config) {
		return known, nil
	}
	method, err := parseJWTMethod(m.Config)
	if err != nil {
		return nil, err
	}
	f := newFetcher(method.Roots, v.c.LocalKeys)
	made := &issuer{revision: m.Revision, config: string(m.Config), method: method, keys: v.newKeySet(method, f)}
	if method.ReviewURL != "" {
		made.review = &review{f: f, url: method.ReviewURL, tokenFile: method.ReviewToken}
	}
	// A standby may show an older revision than the one that was seen last, so revisions are compared for equality only.
	if known == nil && len(v.issuers) >= maxIssuers {
		clear(v.issuers)
	}
	v.issuers[m.Mount] = made
	return made, nil
}

func (v *Verifier) newKeySet(m jwtMethod, f *fetcher) *keySet {
	s := &keySet{algorithms: m.Algorithms, now: v.c.Clock, keys: m.StaticKeys}
	switch {
	case m.JWKSURL != "":
		s.fetch = func(ctx context.Context) ([]jose.JSONWebKey, error) { return f.keys(ctx, m.JWKSURL) }
	case m.DiscoveryURL != "":
		s.fetch = func(ctx context.Context) ([]jose.JSONWebKey, error) { return f.discover(ctx, m) }
	}
	return s
}

func (f *fetcher) keys(ctx context.Context, url string) ([]jose.JSONWebKey, error) {
	text, err := f.get(ctx, url)
	if err != nil {
		return nil, err
	}
	return parseKeySet(text)
}

// discover finds the key set through the issuer's discovery document, which must be that of the very issuer. oidc.NewProvider
// would put the whole answer of a server that fails into its error.
func (f *fetcher) discover(ctx context.Context, m jwtMethod) ([]jose.JSONWebKey, error) {
	text, err := f.get(ctx, strings.TrimSuffix(m.DiscoveryURL, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	switch err := json.Unmarshal(text, &document); {
	case err != nil:
		return nil, core.Errorf(core.Unavailable, "the issuer's discovery document is not one")
	case document.Issuer != m.Issuer:
		return nil, core.Errorf(core.Unavailable, "the discovery document is that of another issuer")
	}
	return f.keys(ctx, document.Keys)
}
