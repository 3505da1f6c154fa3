package store

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestLoneStandby: where the primary does not answer and a standby does, all that needs the primary says so in the same words,
// once it has waited for one.
func TestLoneStandby(t *testing.T) {
	a := newServer(t)
	admin := a.token(a.open(), "admin", vault.AdminRole, nil)
	n := newSecret("a")
	must(t, only(a.open().CreateSecret(t.Context(), n, origin("x"))))
	b := a.standby()
	b.MustCatchUp(t)
	a.stop()
	d := a.openWith(func(c *Config) { c.RequestTimeout, c.WriteTimeout = 2*time.Second, 3*time.Second }, b.dir, a.dir)
	author := vault.Author{By: admin.Credential, Origin: origin("t").Origin}
	var all sync.WaitGroup
	for what, do := range map[string]func(context.Context) error{
		"issue": func(ctx context.Context) error {
			_, err := d.IssueRole(ctx, "app/reader", 0, "SCRAM-SHA-256$", author)
			return err
		},
		"renew": func(ctx context.Context) error {
			_, err := d.RenewLease(ctx, core.SecretID{1}, 0, author)
			return err
		},
		"show a lease that is not here": func(ctx context.Context) error {
			_, _, err := d.ShowLease(ctx, admin.Credential, core.SecretID{1}, vault.Freshness{})
			return err
		},
		"bind": func(ctx context.Context) error {
			_, err := d.BindRole(ctx, vault.RoleBinding{ID: n.ID, Name: n.Name, Expected: 1, Role: "r", Verifier: "v"}, author)
			return err
		},
		"decide about a change": func(ctx context.Context) error {
			_, err := d.Decide(ctx, admin.Credential, "update", "a", vault.Freshness{Primary: true})
			return err
		},
		"update": func(ctx context.Context) error {
			return only(d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, author))
		},
	} {
		for i := range 4 { // whichever server was tried last
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second+time.Duration(i)*200*time.Millisecond) // as a request has
				defer cancel()
				err := do(ctx)
				if core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), "no server that answers is the primary") {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
	}
	all.Wait()
}
