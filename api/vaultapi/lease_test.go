package vaultapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// leases are those of a database with the clock of the server's fakes. Each lasts for an hour from now.
type leases struct {
	vault.Leases // what no test calls
	server       *server
}

func (l leases) lease() vault.Lease {
	now := l.server.now
	return vault.Lease{ID: core.SecretID{6: 0x40, 8: 0x80, 15: 1}, Template: "app/reader", Role: "leased", IssuedAt: now, ExpiresAt: now.Add(time.Hour), Now: now}
}

func (l leases) IssueRole(ctx context.Context, _ string, _ time.Duration, _ string, _ vault.Author) (vault.Lease, error) {
	l.server.deadline, _ = ctx.Deadline()
	return l.lease(), nil
}

func (l leases) RenewLease(context.Context, core.SecretID, time.Duration, vault.Author) (vault.Lease, error) {
	return l.lease(), nil
}

func (l leases) ShowLease(context.Context, vault.Credential, core.SecretID, vault.Freshness) (vault.Lease, vault.Identity, error) {
	return l.lease(), vault.Identity{Actor: "token:ops", Acting: "vault_admin"}, nil
}

// TestTimesByAnotherClock: what is left of a lease and of a token is counted by the clock that ends them, however far the clock of
// the API is from that one.
func TestTimesByAnotherClock(t *testing.T) {
	for _, ahead := range []time.Duration{0, 5 * time.Hour, -5 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			s := newServer(t)
			s.ahead = ahead
			issued := s.want(200, "GET", "/v1/database/creds/app/reader", "")
			s.is(issued, "lease_duration", "3600")
			named := `{"lease_id":"` + issued.at("lease_id").(string) + `"}`
			s.is(s.want(200, "PUT", "/v1/sys/leases/renew", named), "lease_duration", "3600")
			s.is(s.want(200, "PUT", "/v1/sys/leases/lookup", named), "data.ttl", "3600")
			made := s.want(200, "POST", self+"create", `{"ttl":"1h"}`)
			s.is(made, "auth.lease_duration", "3600")
			header := "X-Vault-Token: " + made.at("auth.client_token").(string)
			s.is(s.want(200, "GET", self+"lookup-self", "", header), "data.ttl", "3600")
			s.is(s.want(200, "PUT", self+"renew-self", `{}`, header), "auth.lease_duration", "3600")
			if keys := s.want(200, "LIST", "/v1/auth/token/accessors", "").at("data.keys").([]any); len(keys) != 2 {
				t.Errorf("%d accessors are listed, want 2", len(keys))
			}
		})
	}
}

// TestCredentialsHaveTheTimeOfAChange: the GET of a credential makes a role, so it may wait for a primary as long as other changes do.
func TestCredentialsHaveTheTimeOfAChange(t *testing.T) {
	s := newServer(t)
	before := time.Now()
	s.want(200, "GET", "/v1/database/creds/app/reader", "")
	if left := s.deadline.Sub(before); left < 30*time.Second {
		t.Errorf("it has %s, want the 30 s of a change", left)
	}
}
