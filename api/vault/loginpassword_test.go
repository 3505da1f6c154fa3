package vault_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// users is a fake of what a store keeps of one userpass method, with the user alice. A reader may be behind the primary.
type users struct {
	vault.Logins
	mu              sync.Mutex
	reader, primary map[string]vault.FoundLogin
	asked           []vault.LoginQuery
	away            bool // the primary
	stored          []password.Verifier
	replaced        [][2]password.Verifier
	issued          []vault.NewToken
}

func (u *users) FindLogin(_ context.Context, q vault.LoginQuery, f vault.Freshness) ([]vault.FoundLogin, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = append(u.asked, q)
	from := u.reader
	if f.Primary {
		if u.away {
			return nil, core.Errorf(core.Unavailable, "no primary")
		}
		from = u.primary
	}
	switch q.Mount {
	case "userpass":
		x := from[q.Role]
		x.Method = vault.LoginMethod{Mount: "userpass", Kind: vault.LoginPassword}
		return []vault.FoundLogin{x}, nil
	case "approle":
		return []vault.FoundLogin{{Method: vault.LoginMethod{Mount: "approle", Kind: vault.LoginAppRole}}}, nil
	}
	return nil, nil
}

func (u *users) LoginToken(_ context.Context, _ [16]byte, secretID [32]byte, t vault.NewToken, _ vault.Origin) (vault.TokenInfo, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if secretID != ([32]byte{}) {
		return vault.TokenInfo{}, errors.New("a secret id")
	}
	u.issued = append(u.issued, t)
	return vault.TokenInfo{ID: t.ID, Role: "app_web", Renewable: true}, nil
}

func (u *users) ReplaceVerifier(_ context.Context, _ [16]byte, was, becomes password.Verifier) error {
	u.replaced = append(u.replaced, [2]password.Verifier{was, becomes})
	return nil
}

func (u *users) SetPassword(_ context.Context, _, _ string, v password.Verifier, _ vault.Author) (core.Position, error) {
	u.stored = append(u.stored, v)
	return core.Position{LSN: 1}, nil
}

type userDoor struct {
	*door
	users  *users
	hasher *password.Hasher
}

var cheap = password.Cost{MemoryKiB: 8, Passes: 1, Lanes: 1}

func newUserDoor(t *testing.T) *userDoor {
	t.Helper()
	d := newDoor(t)
	u := &userDoor{door: d, hasher: password.New(cheap)}
	alice := u.user(t, "correct horse")
	none := alice
	none.Role.Name, none.Role.ID, none.Verifier = "none", [16]byte{2}, ""
	elsewhere := alice
	elsewhere.Role.Name, elsewhere.AddressOK = "elsewhere", false
	missing := alice
	missing.Role.Name, missing.Role.Role = "missing", ""
	all := map[string]vault.FoundLogin{"alice": alice, "none": none, "elsewhere": elsewhere, "missing": missing}
	u.users = &users{reader: all, primary: all}
	v, err := vault.New(vault.Config{
		Store: d.store, Keeper: d.keeper, Recorder: d.recorder, Node: "node1", Database: "app", Clock: func() time.Time { return *d.now },
		Logins: u.users, Verifier: verifier{}, Passwords: u.hasher,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Vault = v
	return u
}

func (d *userDoor) user(t *testing.T, text string) vault.FoundLogin {
	t.Helper()
	v, err := d.hasher.Make(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return vault.FoundLogin{AddressOK: true, Verifier: v, Role: vault.LoginRole{
		ID: [16]byte{1}, Mount: "userpass", Name: "alice", Role: "app_web", TokenTTL: time.Hour, TokenType: vault.TokenService,
	}}
}

// try logs in, and returns how many hashes and queries that took.
func (d *userDoor) try(t *testing.T, mount, user, text string) (r vault.LoginResult, hashes, queries int, err error) {
	t.Helper()
	before, asked := d.hasher.Hashes(), len(d.users.asked)
	r, err = d.Login(t.Context(), d.reader, vault.LoginRequest{Mount: mount, Role: user, Password: []byte(text)})
	return r, int(d.hasher.Hashes() - before), len(d.users.asked) - asked, err
}

func TestPasswordLogin(t *testing.T) {
	d := newUserDoor(t)
	for _, name := range []string{"alice", "ALICE"} {
		r, hashes, queries, err := d.try(t, "userpass", name, "correct horse")
		if err != nil || r.Role != "app_web" || r.Metadata["username"] != "alice" || !r.Renewable || hashes != 1 || queries != 1 {
			t.Fatalf("%+v, %d hashes, %d queries, %v", r, hashes, queries, err)
		}
	}
	if len(d.recorder.Take()) != 0 || len(d.users.issued) != 2 || d.users.issued[0].Name != "alice" {
		t.Errorf("issued %+v", d.users.issued)
	}
}

// Whatever is wrong with a login, it costs one hash and the same queries, and the record names users who exist alone.
func TestPasswordRefusals(t *testing.T) {
	const mistyped = "correct-horse-battery" // a password in the place of the name
	for name, c := range map[string]struct {
		user, text, cause, recorded string
	}{
		"ErrPassword":      {"alice", "wrong", "login_password", "userpass/alice"},
		"ErrEmpty":         {"alice", "", "login_password", "userpass/alice"},
		"ErrControl":       {"alice", "correct\x00horse", "login_password", "userpass/alice"},
		"ErrTooLong":       {"alice", strings.Repeat("x", 5000), "login_password", "userpass/alice"},
		"ErrNoPassword":    {"none", "correct horse", "login_password", "userpass/none"},
		"ErrUnknown":       {"bob", "correct horse", "login_role", "userpass"},
		"ErrMistyped":      {mistyped, "x", "login_role", "userpass"},
		"ErrNoName":        {"p@ss word/ü", "x", "login_role", "userpass"},
		"ErrLongName":      {strings.Repeat("a", 5000), "x", "login_role", "userpass"},
		"ErrElsewhere":     {"elsewhere", "correct horse", "login_address", "userpass/elsewhere"},
		"ErrElsewhereToo":  {"elsewhere", "wrong", "login_address", "userpass/elsewhere"},
		"ErrRoleIsMissing": {"missing", "correct horse", "login_role", "userpass/missing"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newUserDoor(t)
			_, hashes, queries, err := d.try(t, "userpass", c.user, c.text)
			wantCode(t, err, core.Unauthenticated)
			refusal, _ := errors.AsType[*vault.LoginRefusal](err)
			if refusal == nil || string(refusal.Cause) != c.cause || hashes != 1 {
				t.Errorf("%v, %d hashes", refusal, hashes)
			}
			if asks := c.cause != "login_address" && c.user != "missing"; asks && queries != 2 {
				t.Errorf("%d queries", queries)
			}
			if e := d.one(t); e.Name != c.recorded || e.Outcome != vault.OutcomeDenied || strings.Contains(e.Origin.Actor, c.user) && c.user != "alice" {
				t.Errorf("recorded %+v", e)
			}
			for _, q := range d.users.asked {
				if len(q.Role) > 64 || strings.ContainsAny(q.Role, "@ /") {
					t.Error("what is no name is sent to the database")
				}
			}
		})
	}
}

// A mount is no secret: what has no users costs no hash.
func TestPasswordLoginElsewhere(t *testing.T) {
	d := newUserDoor(t)
	for _, mount := range []string{"ldap", "approle", strings.Repeat("m", 1000)} {
		_, hashes, _, err := d.try(t, mount, "alice", "correct horse")
		wantCode(t, err, core.Unauthenticated)
		if hashes != 0 {
			t.Errorf("%.10s: %d hashes", mount, hashes)
		}
	}
	// And what is no password does not log in where passwords do.
	_, err := d.Login(t.Context(), d.reader, vault.LoginRequest{Mount: "userpass", Role: "alice", SecretID: "correct horse", JWT: "good"})
	wantCode(t, err, core.Unauthenticated)
}

// A standby that is behind queries the primary: about a user that it does not know, and about a password that is not the one it
// knows. Either costs a known and an unknown user the same.
func TestPasswordLoginBehind(t *testing.T) {
	d := newUserDoor(t)
	d.users.primary = map[string]vault.FoundLogin{"alice": d.user(t, "new password"), "fresh": d.user(t, "correct horse")}
	d.users.reader = map[string]vault.FoundLogin{"alice": d.user(t, "old password")}
	for _, c := range []struct {
		user, text string
		hashes     int
		ok         bool
	}{{"fresh", "correct horse", 1, true}, {"alice", "new password", 2, true}, {"alice", "wrong", 2, false}, {"bob", "wrong", 1, false}} {
		if _, hashes, _, err := d.try(t, "userpass", c.user, c.text); (err == nil) != c.ok || hashes != c.hashes {
			t.Errorf("%s: %v, %d hashes", c.user, err, hashes)
		}
	}
	d.users.away = true
	if _, hashes, _, err := d.try(t, "userpass", "alice", "old password"); err != nil || hashes != 1 {
		t.Errorf("without the primary: %v, %d hashes", err, hashes)
	}
	_, hashes, _, err := d.try(t, "userpass", "stranger", "old password")
	wantCode(t, err, core.Unauthenticated)
	if hashes != 1 {
		t.Errorf("without the primary: %d hashes", hashes)
	}
}

// Five wrong passwords for a name lock its client out of it, whether the user exists or not. No other client is, and no other user.
func TestLockout(t *testing.T) {
	for _, user := range []string{"alice", "bob", "p@ss word"} {
		t.Run(user, func(t *testing.T) {
			d := newUserDoor(t)
			for range 5 {
				_, _, _, err := d.try(t, "userpass", user, "wrong")
				wantCode(t, err, core.Unauthenticated)
			}
			_, hashes, queries, err := d.try(t, "userpass", strings.ToUpper(user), "correct horse")
			wantCode(t, err, core.TooMany)
			locked, _ := errors.AsType[*vault.LockedOut](err)
			if locked == nil || locked.RetryAfter != 3*time.Minute || hashes != 0 || queries != 0 {
				t.Errorf("%+v, %d hashes, %d queries", locked, hashes, queries)
			}
			if strings.Contains(err.Error(), user) {
				t.Error("the error names the user")
			}
			if _, _, _, err := d.try(t, "userpass", "elsewhere", "wrong"); core.CodeOf(err) != core.Unauthenticated {
				t.Errorf("another user: %v", err)
			}
			own := d.reader.Addr
			d.reader.Addr = netip.MustParseAddr("10.9.9.9")
			if _, _, _, err := d.try(t, "userpass", "alice", "correct horse"); err != nil {
				t.Errorf("another client: %v", err)
			}
			d.reader.Addr = own
			*d.now = d.now.Add(3 * time.Minute)
			if _, _, _, err := d.try(t, "userpass", user, "wrong"); core.CodeOf(err) != core.Unauthenticated {
				t.Errorf("after the pause: %v", err)
			}
			if _, _, _, err := d.try(t, "userpass", user, "wrong"); core.CodeOf(err) != core.TooMany {
				t.Errorf("a second one after the pause: %v", err)
			}
		})
	}
	t.Run("SuccessForgets", func(t *testing.T) {
		d := newUserDoor(t)
		for range 5 {
			for range 4 {
				_, _, _, err := d.try(t, "userpass", "alice", "wrong")
				wantCode(t, err, core.Unauthenticated)
			}
			if _, _, _, err := d.try(t, "userpass", "alice", "correct horse"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("OneRecordForAFlood", func(t *testing.T) {
		d := newUserDoor(t)
		for range 50 {
			_, _, _, _ = d.try(t, "userpass", "alice", "wrong")
		}
		if n := len(d.recorder.Take()); n != 6 {
			t.Errorf("%d records", n)
		}
	})
}

// Guesses that come all at once do not get more tries than those that come one after the other, but for those that have a
// place already.
func TestGuessesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newUserDoor(t)
		release := make(chan struct{})
		var all sync.WaitGroup
		for range password.AtOnce {
			all.Go(func() {
				_, _, _ = d.hasher.Matches(t.Context(), "", []byte("x"), func() error { <-release; return nil })
			})
		}
		synctest.Wait()
		before := d.hasher.Hashes()
		for range password.MaxWaiting {
			all.Go(func() {
				_, _ = d.Login(t.Context(), d.reader, vault.LoginRequest{Mount: "userpass", Role: "alice", Password: []byte("wrong")})
			})
		}
		synctest.Wait() // all of them have been let through to the line
		close(release)
		all.Wait()
		if n := d.hasher.Hashes() - before - password.AtOnce; n < 5 || n > 5+password.AtOnce {
			t.Errorf("%d guesses", n)
		}
	})
}

// A login replaces a verifier of another cost.
func TestVerifierIsReplaced(t *testing.T) {
	d := newUserDoor(t)
	dear := password.New(password.Cost{MemoryKiB: 16, Passes: 1, Lanes: 1})
	old, err := dear.Make(t.Context(), []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	alice := d.user(t, "correct horse")
	alice.Verifier = old
	d.users.reader = map[string]vault.FoundLogin{"alice": alice}
	d.users.primary = d.users.reader
	if _, hashes, _, err := d.try(t, "userpass", "alice", "wrong"); err == nil || hashes != 1 || len(d.users.replaced) != 0 {
		t.Fatalf("a wrong password: %d hashes, %v", hashes, err)
	}
	if _, hashes, _, err := d.try(t, "userpass", "alice", "correct horse"); err != nil || hashes != 2 || len(d.users.replaced) != 1 {
		t.Fatalf("%d hashes, %d replaced, %v", hashes, len(d.users.replaced), err)
	}
	pair := d.users.replaced[0]
	if ok, outdated, err := d.hasher.Matches(t.Context(), pair[1], []byte("correct horse"), nil); pair[0] != old || !ok || outdated || err != nil {
		t.Errorf("%t, %t, %v", ok, outdated, err)
	}
}

func TestSetPassword(t *testing.T) {
	d := newUserDoor(t)
	op := d.OperatorLogins(vault.Operator{Name: "root"})
	if at, err := op.SetPassword(t.Context(), "userpass", "alice", []byte("correct horse")); err != nil || at.LSN != 1 {
		t.Fatal(err)
	}
	if len(d.users.stored) != 1 {
		t.Fatalf("%d stored", len(d.users.stored))
	}
	for name, c := range map[string][2]string{"ErrShort": {"alice", "short"}, "ErrName": {"p@ss", "correct horse"}, "ErrControl": {"alice", "correct\nhorse"}} {
		t.Run(name, func(t *testing.T) {
			before := d.hasher.Hashes()
			_, err := op.SetPassword(t.Context(), "userpass", c[0], []byte(c[1]))
			wantCode(t, err, core.Invalid)
			if d.hasher.Hashes() != before || len(d.users.stored) != 1 {
				t.Error("it was hashed or stored")
			}
		})
	}
	t.Run("ErrDeniedCostsNoHash", func(t *testing.T) {
		d.store.AddRole("app")
		d.store.GrantTo("app", "a/*", "read")
		c, _ := d.holder(t, vault.TokenRequest{Name: "app", Role: "app", TTL: time.Hour})
		before := d.hasher.Hashes()
		_, err := d.LoginAdmin(c).SetPassword(t.Context(), "userpass", "alice", []byte("correct horse"))
		if core.CodeOf(err) != core.Denied || d.hasher.Hashes() != before || len(d.users.stored) != 1 {
			t.Errorf("%v, %d hashes", err, d.hasher.Hashes()-before)
		}
	})
}
