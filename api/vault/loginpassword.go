package vault

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/core"
)

// guess is what wrong passwords are counted by: the user's name that a client gave, which need not exist, and the network
// of the client. So an attacker locks out itself, and not the user elsewhere.
type guess struct {
	user [32]byte // SHA-256 of the mount and the name: what is no name may be a password
	from netip.Prefix
}

// guessRate is how many wrong passwords of one user one network may try: five at once, and one in three minutes after that.
var guessRate = quota.Rate{N: 5, Per: 15 * time.Minute}

func guessOf(r LoginRequest, addr netip.Addr) guess {
	return guess{user: sha256.Sum256([]byte(r.Mount + "\x00" + strings.ToLower(r.Role))), from: quota.NetworkOf(addr)}
}

// LockedOut is in the chain of the TooMany error of a login for whose user this client has tried too many wrong passwords.
type LockedOut struct{ RetryAfter time.Duration }

// Error says for the log how long it goes on.
func (e *LockedOut) Error() string {
	return fmt.Sprintf("the next try is possible in %s", e.RetryAfter)
}

// guessesLeft returns a TooMany error if there were too many wrong passwords. Refusals of this kind share their records with
// other refused logins of the network.
func (a *attempt) guessesLeft(of guess) error {
	at := a.v.c.Clock()
	retry, ok := a.v.guesses.Look(of, at)
	if ok {
		return nil
	}
	a.unrecorded = !a.v.refusedLogins.Notice(a.caller.Addr, at)
	return core.Wrap(core.TooMany, &LockedOut{RetryAfter: retry}, "too many wrong passwords for this user came from this client")
}

// checkPassword is checkLogin for a login by password. A user who does not exist, who has no password, or who may not log in
// from here, costs the same queries and the same hash as one whose password is wrong.
func (v *Vault) checkPassword(ctx context.Context, a *attempt, r LoginRequest) (l checkedLogin, err error) {
	if v.c.Logins == nil || len(r.Mount) > maxNameText {
		return l, &LoginRefusal{Cause: CauseLoginMethod}
	}
	of := guessOf(r, a.by.Addr)
	if err := a.guessesLeft(of); err != nil {
		return l, err
	}
	x, err := v.findUser(ctx, a, r, Freshness{})
	if err == nil && x.Role.ID == ([16]byte{}) {
		x, err = v.orOnPrimary(ctx, a, r, x)
	}
	if err != nil {
		return l, err
	}
	l.found = x
	a.noteLogin(x)
	ready := func() error { return a.guessesLeft(of) } // those that waited meanwhile may have used them up
	cause, err := v.judgePassword(ctx, x, r.Password, ready)
	if cause == CauseLoginPassword && err == nil {
		// A standby may not have the newest password yet.
		var newer FoundLogin
		if newer, err = v.orOnPrimary(ctx, a, r, x); err == nil && newer.Verifier != x.Verifier {
			l.found = newer
			cause, err = v.judgePassword(ctx, newer, r.Password, ready)
		}
	}
	switch {
	case err != nil:
		return l, err
	case cause != "":
		v.guesses.Take(of, 1, v.c.Clock())
		return l, &LoginRefusal{Cause: cause}
	}
	v.guesses.Forget(of)
	l.subject = LoginSubject{Name: l.found.Role.Name, Metadata: map[string]string{"username": l.found.Role.Name}}
	return l, nil
}

// findUser returns the user that a request names, without an ID if there is none. An unknown mount, or one that has no
// users, is a *LoginRefusal: that is no secret, and costs no hash.
func (v *Vault) findUser(ctx context.Context, a *attempt, r LoginRequest, f Freshness) (FoundLogin, error) {
	name := strings.ToLower(r.Role)
	if !loginRoleForm.MatchString(name) {
		name = "" // it may be a password, and no user has this name
	}
	found, err := v.c.Logins.FindLogin(ctx, LoginQuery{Mount: r.Mount, Role: name, Addr: a.by.Addr}, f)
	if err != nil {
		return FoundLogin{}, err
	}
	if len(found) != 1 || found[0].Method.Kind != LoginPassword {
		return FoundLogin{}, &LoginRefusal{Cause: CauseLoginMethod}
	}
	return found[0], nil
}

// orOnPrimary is findUser on the primary, or what is known already while the primary is away.
func (v *Vault) orOnPrimary(ctx context.Context, a *attempt, r LoginRequest, known FoundLogin) (FoundLogin, error) {
	x, err := v.findUser(ctx, a, r, onPrimary)
	if core.CodeOf(err) == core.Unavailable {
		return known, nil
	}
	return x, err
}

// judgePassword returns why a user is not let in with a password, "" if the user is.
func (v *Vault) judgePassword(ctx context.Context, x FoundLogin, text []byte, ready func() error) (LoginCause, error) {
	matches, outdated, err := v.c.Passwords.Matches(ctx, x.Verifier, text, ready)
	switch {
	case err != nil:
		return "", err
	case x.Role.ID == [16]byte{} || x.Role.Role == "":
		return CauseLoginRole, nil
	case !x.AddressOK:
		return CauseLoginAddress, nil
	case !matches:
		return CauseLoginPassword, nil
	}
	if outdated {
		v.replaceVerifier(ctx, x, text)
	}
	return "", nil
}

// replaceTimeout bounds how long a login waits for the primary to store a better verifier.
const replaceTimeout = time.Second

// replaceVerifier stores a verifier of the current cost. A login does without it: the next one tries again.
func (v *Vault) replaceVerifier(ctx context.Context, x FoundLogin, text []byte) {
	ctx, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	if made, err := v.c.Passwords.Make(ctx, text); err == nil {
		_ = v.c.Logins.ReplaceVerifier(ctx, x.Role.ID, x.Verifier, made)
	}
}

// SetPassword sets the password of a user of a userpass method. A role may do so that may make secret ids for the same
// login. The caller wipes text. Errors: Invalid, NotFound, and Unavailable with password.ErrBusy.
func (l LoginAdmin) SetPassword(ctx context.Context, mount, name string, text []byte) (core.Position, error) {
	return changeLogin(ctx, l.issuing(), mount+"/"+name, func(ctx context.Context, a *attempt) error {
		if err := checkLoginRoleName(mount, name); err != nil {
			return err
		}
		if err := password.Check(text); err != nil {
			return err
		}
		if a.by.IsItself() {
			return nil
		}
		return a.decide(ctx, onPrimary) // before a hash is computed
	}, func(ctx context.Context, by Author) (core.Position, error) {
		v, err := l.v.c.Passwords.Make(ctx, text)
		if err != nil {
			return core.Position{}, err
		}
		return l.v.c.Logins.SetPassword(ctx, mount, name, v, by)
	})
}
