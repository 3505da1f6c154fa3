package vault_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/rewrap"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// logins is a fake of what a store keeps of logins: one JWT method with one role of batch tokens.
type logins struct {
	vault.Logins // what a test does not use panics
	now          func() time.Time

	mu      sync.Mutex
	role    vault.LoginRole
	known   bool // the reader knows the role
	keys    []vault.TokenKey
	asked   int // how often the keys were asked for
	away    bool
	primary bool // false: changes fail
}

func (l *logins) FindLogin(_ context.Context, q vault.LoginQuery, f vault.Freshness) ([]vault.FoundLogin, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.Mount != "ci" {
		return nil, nil
	}
	x := vault.FoundLogin{Method: vault.LoginMethod{Mount: "ci", Kind: vault.LoginJWT}, AddressOK: true}
	if q.Role == l.role.Name && (l.known || f.Primary) {
		x.Role = l.role
	}
	return []vault.FoundLogin{x}, nil
}

func (l *logins) TokenKeys(context.Context, vault.Freshness) ([]vault.TokenKey, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.away {
		return nil, core.Errorf(core.Unavailable, "away")
	}
	return append([]vault.TokenKey{}, l.keys...), nil
}

func (l *logins) PutTokenKey(_ context.Context, k vault.TokenKey, expected [16]byte, _ vault.Author) (bool, core.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.primary {
		return false, core.Position{}, core.Errorf(core.Unavailable, "no primary")
	}
	if len(l.keys) > 0 && l.keys[0].ID != expected || len(l.keys) == 0 && expected != [16]byte{} {
		return false, core.Position{}, nil
	}
	k.CreatedAt = l.now()
	l.keys = append([]vault.TokenKey{k}, l.keys...)
	return true, core.Position{LSN: 1}, nil
}

// verifier lets in the JWT "good".
type verifier struct{ vault.LoginVerifier }

func (verifier) JWT(_ context.Context, _ vault.LoginMethod, _ vault.LoginRole, raw string) (vault.LoginSubject, error) {
	switch raw {
	case "good":
		return vault.LoginSubject{Name: "repo:org/app ü", Metadata: map[string]string{"role": "web"}}, nil
	case "misconfigured":
		return vault.LoginSubject{}, core.Errorf(core.Invalid, "the settings are wrong")
	case "away":
		return vault.LoginSubject{}, core.Errorf(core.Unavailable, "the issuer is away")
	}
	return vault.LoginSubject{}, &vault.LoginRefusal{Cause: vault.CauseLoginSignature}
}

func (verifier) Certificate(vault.LoginMethod, vault.LoginRole, *x509.Certificate) (vault.LoginSubject, error) {
	return vault.LoginSubject{}, &vault.LoginRefusal{Cause: vault.CauseLoginCertificate}
}

type loginDoor struct {
	*door
	logins *logins
}

func newLoginDoor(t *testing.T) *loginDoor {
	t.Helper()
	d := newDoor(t)
	clock := func() time.Time { return *d.now }
	l := &logins{now: clock, known: true, primary: true, role: vault.LoginRole{
		ID: [16]byte{1}, Mount: "ci", Name: "web", Role: "app_web", TokenTTL: time.Hour, TokenType: vault.TokenBatch,
		ValidFrom: time.Date(2026, 1, 1, 0, 0, 0, 123000, time.UTC), BoundCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Scope: vault.Scope{{Pattern: "web/*", Actions: []string{"read"}}},
	}}
	allow, err := allowlist.Parse("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.New(vault.Config{
		Allow: allow, Store: d.store, Keeper: d.keeper, Recorder: d.recorder, Node: "node1", Database: "app", Clock: clock, Logins: l, Verifier: verifier{},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Vault = v
	return &loginDoor{door: d, logins: l}
}

func (d *loginDoor) try(t *testing.T, mount, role, jwt string) (vault.LoginResult, error) {
	t.Helper()
	return d.Login(t.Context(), d.reader, vault.LoginRequest{Mount: mount, Role: role, JWT: vault.Bearer(jwt)})
}

func (d *loginDoor) mustLogin(t *testing.T) token.Token {
	t.Helper()
	r, err := d.try(t, "ci", "web", "good")
	if err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
	return r.Token
}

func TestLogin(t *testing.T) {
	d := newLoginDoor(t)
	r, err := d.try(t, "ci", "web", "good")
	if err != nil || r.Type != vault.TokenBatch || r.Role != "app_web" || r.TTL != time.Hour || r.Renewable || r.Accessor != (vault.TokenID{}) {
		t.Fatalf("%+v, %v", r, err)
	}
	e := d.one(t)
	if e.Action != vault.ActionLogin || e.Outcome != vault.OutcomeOK || e.Name != "ci/web" || e.Origin.Actor != "login:web\x1f\x1fci" ||
		e.Origin.ClientIP != d.reader.Addr || e.Origin.RequestID != "r-read" {
		t.Errorf("recorded %+v", e)
	}
	for name, c := range map[string]struct {
		mount, role, jwt string
		want             core.Code
		cause, recorded  string
	}{
		"ErrMount":         {"ldap", "web", "good", core.Unauthenticated, "login_method", ""},
		"ErrRole":          {"ci", "other", "good", core.Unauthenticated, "login_role", "ci"},
		"ErrSignature":     {"ci", "web", "bad", core.Unauthenticated, "login_signature", "ci/web"},
		"ErrMisconfigured": {"ci", "web", "misconfigured", core.Internal, "internal", "ci/web"},
		"ErrAway":          {"ci", "web", "away", core.Unavailable, "unavailable", "ci/web"},
		"ErrLongMount":     {strings.Repeat("m", 1000), "web", "good", core.Unauthenticated, "login_malformed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := countOf(d, c.cause)
			r, err := d.try(t, c.mount, c.role, c.jwt)
			wantCode(t, err, c.want)
			if r.Token.Reveal() != "" {
				t.Error("a token was issued")
			}
			e := d.one(t)
			if e.Action != vault.ActionLogin || e.Outcome == vault.OutcomeOK || e.Code != c.want || e.Name != c.recorded {
				t.Errorf("recorded %+v", e)
			}
			if countOf(d, c.cause) != before+1 {
				t.Errorf("not counted under %s: %+v", c.cause, d.Logins())
			}
		})
	}
	// All refusals read alike.
	_, mount := d.try(t, "ldap", "web", "good")
	_, signature := d.try(t, "ci", "web", "bad")
	if mount.Error() != signature.Error() {
		t.Errorf("%v and %v", mount, signature)
	}
}

func countOf(d *loginDoor, cause string) (n uint64) {
	for _, c := range d.Logins() {
		if c.Cause == cause {
			n += c.Count
		}
	}
	return n
}

// What a standby does not know yet is asked of the primary.
func TestLoginThatTheReaderDoesNotKnow(t *testing.T) {
	d := newLoginDoor(t)
	d.logins.known = false
	if _, err := d.try(t, "ci", "web", "good"); err != nil {
		t.Fatal(err)
	}
}

// A login whose record cannot be written issues nothing.
func TestLoginUnrecorded(t *testing.T) {
	d := newLoginDoor(t)
	d.recorder.FailWith(func(vault.Entry) error { return errors.New("full") })
	r, err := d.try(t, "ci", "web", "good")
	wantCode(t, err, core.Unavailable)
	if r.Token.Reveal() != "" {
		t.Error("a token was issued")
	}
}

// claimsOf opens a batch token as the door does.
func (d *loginDoor) claimsOf(t *testing.T, text string) map[string]any {
	t.Helper()
	b, err := token.ParseBatch(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range d.logins.keys {
		if k.ID != b.KeyID {
			continue
		}
		plain, err := d.keeper.Unwrap(t.Context(), k.WrappedKey, map[string]string{"hyperion-vault:token-key-id": core.SecretID(k.ID).String()})
		if err != nil {
			t.Fatal(err)
		}
		text, err := b.Open(plain)
		clear(plain)
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(text, &claims); err != nil {
			t.Fatal(err)
		}
		return claims
	}
	t.Fatal("no key seals such a token")
	return nil
}

func TestBatchClaims(t *testing.T) {
	d := newLoginDoor(t)
	made := d.mustLogin(t).Reveal()
	text, err := json.Marshal(d.claimsOf(t, made))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"bound_cidrs":["10.0.0.0/8"],"expires_at":"2026-01-02T04:04:05Z","issued_at":"2026-01-02T03:04:05Z",` +
		`"login_role":"01000000-0000-0000-0000-000000000000","name":"repo:org/app___","scopes":[[{"actions":["read"],"pattern":"web/*"}]],` +
		`"valid_from":"2026-01-01T00:00:00.000123Z"}`
	if string(text) != want {
		t.Errorf("claims are %s", text)
	}
	if all, unwiped := d.keeper.HandedOut(); all == 0 || unwiped != 0 {
		t.Errorf("%d of %d keys were not wiped", unwiped, all)
	}
}

// present reads with a token, and returns what the door answers before the store decides.
func (d *loginDoor) present(t *testing.T, text string) error {
	t.Helper()
	c := d.reader
	c.Bearer = vault.Bearer(text)
	_, err := d.Grants(t.Context(), c)
	d.recorder.Take()
	return err
}

// Tokens with made-up key ids do not cost a query each.
func TestUnknownTokenKeys(t *testing.T) {
	d := newLoginDoor(t)
	d.mustLogin(t)
	key := make([]byte, 32)
	forged := func(n byte) string {
		made, err := token.SealBatch(key, [16]byte{0xff, n}, []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		return made.Reveal()
	}
	before := d.logins.asked
	for n := range byte(30) {
		wantCode(t, d.present(t, forged(n)), core.Unauthenticated)
	}
	if asked := d.logins.asked - before; asked > 2 { // the reader, and the primary
		t.Errorf("the keys were asked for %d times", asked)
	}
	*d.now = d.now.Add(2 * time.Second)
	wantCode(t, d.present(t, forged(99)), core.Unauthenticated)
	if asked := d.logins.asked - before; asked < 3 || asked > 4 {
		t.Errorf("the keys were asked for %d times", asked)
	}
}

func TestBatchTokenWithoutLogins(t *testing.T) {
	d := newLoginDoor(t)
	made := d.mustLogin(t).Reveal()
	plain := newDoor(t)
	c := plain.reader
	c.Bearer = vault.Bearer(made)
	_, err := plain.Read(t.Context(), c, "a", 0)
	wantCode(t, err, core.Unauthenticated)
}

func TestTokenKeyRotation(t *testing.T) {
	d := newLoginDoor(t)
	keyOf := func() [16]byte {
		t.Helper()
		b, err := token.ParseBatch(d.mustLogin(t).Reveal())
		if err != nil {
			t.Fatal(err)
		}
		return b.KeyID
	}
	first := keyOf()
	if again := keyOf(); again != first {
		t.Fatal("two logins made two keys")
	}
	*d.now = d.now.Add(30 * 24 * time.Hour)
	d.logins.primary = false
	if again := keyOf(); again != first {
		t.Fatal("without a primary another key sealed")
	}
	d.logins.primary = true
	second := keyOf()
	if second == first {
		t.Fatal("an old key sealed although a primary is there")
	}
	// Another node was faster.
	*d.now = d.now.Add(2 * time.Minute)
	other := newLoginDoor(t)
	other.logins.keys, other.keeper = d.logins.keys, d.keeper
	id, at, err := d.OperatorLogins(vault.Operator{Name: "root"}).RotateTokenKey(t.Context())
	if err != nil || keyOf() != id || at.LSN != 1 {
		t.Fatalf("rotated to %v, %v", id, err)
	}
	// One that the key service no longer opens is followed by another; one that it cannot open now is not.
	third := id
	d.keeper.FailWith(func(op string) error {
		if op == "unwrap" {
			return core.Errorf(core.Unavailable, "away")
		}
		return nil
	})
	_, err = d.try(t, "ci", "web", "good")
	wantCode(t, err, core.Unavailable)
	gone := true
	d.keeper.FailWith(func(op string) error {
		if op == "unwrap" && gone {
			gone = false
			return core.Errorf(core.Denied, "the key is disabled")
		}
		return nil
	})
	if fourth := keyOf(); fourth == third {
		t.Error("a key that does not open is still used")
	}
}

// successor is a keeper with another master key than the stored one.
type successor struct {
	*doortest.Keeper
	current string
}

func (s *successor) Current(context.Context) (string, error) { return s.current, nil }

func (s *successor) Rewrap(_ context.Context, k vault.WrappedKey, to string, _ map[string]string) (vault.WrappedKey, error) {
	return vault.WrappedKey{KeyID: to, Wrapped: k.Wrapped}, nil
}

// After a rewrap, batch tokens are sealed under a key of the new master key.
func TestRewrapFollowsTokenKey(t *testing.T) {
	d := newLoginDoor(t)
	d.mustLogin(t)
	first := d.logins.keys[0]
	for want, current := range map[int]string{1: first.KeyID, 2: "next-key"} {
		v, err := vault.New(vault.Config{
			Store: d.store, Keeper: &successor{Keeper: d.keeper, current: current}, Recorder: d.recorder, Node: "n", Database: "d",
			Logins: d.logins, Verifier: verifier{}, Rewraps: rewrap.New(nil),
		})
		if err != nil {
			t.Fatal(err)
		}
		d.logins.keys = []vault.TokenKey{first}
		if s, err := v.Rewrap(t.Context(), vault.Operator{Name: "root"}, 0, nil); err != nil || s.State != vault.RewrapDone {
			t.Fatalf("%+v, %v", s, err)
		}
		if len(d.logins.keys) != want {
			t.Errorf("there are %d keys, want %d", len(d.logins.keys), want)
		}
	}
}
