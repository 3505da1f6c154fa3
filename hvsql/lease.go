package hvsql

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/client"
)

// Lease is a role that is leased from a template. It is renewed after two thirds of its time. Once its longest lifetime cuts a
// renewal short, another role is leased, so that connections can move over before the first one ends. A lease ends by itself,
// or by RevokeLease of the client.
func Lease(c *client.Client, template string) Source { return &leaseSource{c: c, template: template} }

type leaseSource struct {
	c        *client.Client
	template string
}

func (s *leaseSource) fetch(ctx context.Context, previous Credential) (Credential, error) {
	if previous.LeaseID == "" {
		return s.issue(ctx)
	}
	kept, err := s.keep(ctx, previous)
	if err != nil && !isGone(err) {
		return Credential{}, err
	}
	if err == nil && kept.Username != "" {
		return kept, nil
	}
	return s.issue(ctx)
}

// keep renews a lease, and returns no credential if another lease should take its place. A lease that PostgreSQL has refused
// stays as well while the vault has it: a standby may not have its role yet, and more leases would not help.
func (s *leaseSource) keep(ctx context.Context, previous Credential) (Credential, error) {
	now := time.Now()
	l, err := s.c.RenewLease(ctx, previous.LeaseID, 0)
	if err != nil || l.ExpiresAt.Sub(now) <= time.Duration(l.TTLSecs)*time.Second/2 {
		return Credential{}, err
	}
	return leased(*l, previous.Password, now), nil
}

func (s *leaseSource) issue(ctx context.Context) (Credential, error) {
	now := time.Now()
	l, err := s.c.IssueRole(ctx, s.template, 0)
	if err != nil {
		return Credential{}, err
	}
	return leased(*l, l.Password, now), nil
}

// isGone reports whether the vault has answered that a lease is not there, or is ending.
func isGone(err error) bool {
	code := client.CodeOf(err)
	return code == client.NotFound || code == client.Invalid
}

func leased(l client.Lease, password string, now time.Time) Credential {
	return Credential{
		Username: l.Username, Password: password, LeaseID: l.ID, ExpiresAt: l.ExpiresAt,
		refreshAt: now.Add(l.ExpiresAt.Sub(now) * 2 / 3),
	}
}

// follow does nothing: a lease is fetched by its own times.
func (*leaseSource) follow(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}
