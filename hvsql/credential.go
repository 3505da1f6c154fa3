package hvsql

import (
	"fmt"
	"log/slog"
	"time"
)

// Credential is what a login needs. Neither fmt, nor log/slog, nor encoding/json shows its password.
type Credential struct {
	Username string
	Password string `json:"-"`
	// ExpiresAt is when it ends by itself, by the clock of the vault. It is zero for the credential of a secret.
	ExpiresAt time.Time
	// LeaseID is the id of its lease. It is empty for the credential of a secret.
	LeaseID string

	issuedAt  time.Time // when its lease was asked for, by the clock here, as the next two are
	endsAt    time.Time // when it ends, at the earliest; zero is never
	refreshAt time.Time // when it is fetched again in any case; zero is never
	serial    uint64    // counts the credentials of a Follower
}

// Format prints the user, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "credential of %q", c.Username)
}

// LogValue leaves the password out of logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

func (c Credential) expired() bool { return !c.endsAt.IsZero() && c.left(time.Now()) <= 0 }

// left is how long it lasts. The monotonic clock of a machine that was suspended has stood still, and the other one may be set.
func (c Credential) left(now time.Time) time.Duration {
	return min(c.endsAt.Sub(now), c.endsAt.Round(0).Sub(now.Round(0)))
}

func (c Credential) sameLogin(as Credential) bool {
	return c.Username == as.Username && c.Password == as.Password
}
