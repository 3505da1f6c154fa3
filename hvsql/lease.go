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
	if err != nil {
		return Credential{}, err
	}
	ttl := time.Duration(l.TTLSecs) * time.Second
	ends := now.Add(ttl)
	if longest := previous.issuedAt.Add(l.MaxExpiresAt.Sub(l.IssuedAt)); longest.Before(ends) {
		ends = longest
	}
	kept := leased(*l, previous.Password, previous.issuedAt, ends)
	if kept.left(now) <= ttl/2 {
		return Credential{}, nil
	}
	return kept.refreshedFrom(now), nil
}

func (s *leaseSource) issue(ctx context.Context) (Credential, error) {
	now := time.Now()
	l, err := s.c.IssueRole(ctx, s.template, 0)
	if err != nil {
		return Credential{}, err
	}
	return leased(*l, l.Password, now, now.Add(l.ExpiresAt.Sub(l.IssuedAt))).refreshedFrom(now), nil
}

// isGone reports whether the vault has answered that a lease is not there, or is ending.
func isGone(err error) bool {
	code := client.CodeOf(err)
	return code == client.NotFound || code == client.Invalid
}

// leased is the credential of a lease. The vault tells its times by another clock than that of this machine, which may be hours
// ahead. So they are taken from how long the lease lasts, and from when it was asked for.
func leased(l client.Lease, password string, issued, ends time.Time) Credential {
	return Credential{Username: l.Username, Password: password, LeaseID: l.ID, ExpiresAt: l.ExpiresAt, issuedAt: issued, endsAt: ends}
}

func (c Credential) refreshedFrom(now time.Time) Credential {
	c.refreshAt = now.Add(c.left(now) * 2 / 3)
	return c
}

// follow does nothing: a lease is fetched by its own times.
func (*leaseSource) follow(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}
