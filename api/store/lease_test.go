package store

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/scram"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestAnswersSayWhen: an answer about what lasts for a while has the time of the server that it is from, taken after its own
// times.
func TestAnswersSayWhen(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	s.sql("app", "SELECT vault.create_role_template('app/reader', '{}', '1 hour', role_prefix => 'hv_answers')")
	admin := s.token(d, "admin", vault.AdminRole, func(n *vault.NewToken) { n.TTL = time.Hour })
	author := vault.Author{By: admin.Credential, Origin: origin("t").Origin}
	verifier, err := scram.Verifier([]byte("password"), scram.DefaultIterations, rand.Reader)
	must(t, err)
	check := func(what string, begins, now, ends time.Time) {
		t.Helper()
		if left := ends.Sub(now); now.Before(begins) || left <= 59*time.Minute || left > time.Hour {
			t.Errorf("%s: it begins at %v and ends at %v, and now is %v", what, begins, ends, now)
		}
	}
	lease := func(what string, l vault.Lease, err error) vault.Lease {
		t.Helper()
		must(t, err)
		check(what, l.IssuedAt, l.Now, l.ExpiresAt)
		return l
	}
	token := func(what string, i vault.TokenInfo, err error) {
		t.Helper()
		must(t, err)
		check(what, i.CreatedAt, i.Now, i.ExpiresAt)
	}
	issued, err := d.IssueRole(ctx, "app/reader", 0, verifier, author)
	id := lease("issue", issued, err).ID
	renewed, err := d.RenewLease(ctx, id, 0, author)
	lease("renew", renewed, err)
	shown, _, err := d.ShowLease(ctx, admin.Credential, id, vault.Freshness{})
	lease("show", shown, err)
	listed, _, err := d.ListLeases(ctx, admin.Credential, "", core.SecretID{}, 2, vault.Freshness{})
	if must(t, err); len(listed) != 1 {
		t.Fatalf("%d leases", len(listed))
	}
	lease("list", listed[0], nil)
	n := vault.NewToken{ID: vault.TokenID{6: 0x40, 8: 0x80, 15: 7}, Name: "n", Fingerprint: [32]byte{7}, TTL: time.Hour, Renewable: true}
	for _, by := range []vault.Author{author, origin("operator")} {
		n.ID[0]++
		n.Fingerprint[0]++
		n.Name += "n"
		made, err := d.CreateToken(ctx, n, vault.AdminRole, by)
		token("create", made, err)
		extended, err := d.RenewToken(ctx, n.ID, 0, by)
		token("renew", extended, err)
		found, _, err := d.ShowToken(ctx, by.By, n.ID, vault.Freshness{})
		token("show", found, err)
		all, _, err := d.ListTokens(ctx, by.By, vault.TokenID{}, 9, vault.Freshness{})
		must(t, err)
		for _, x := range all {
			token("list", x, nil)
		}
	}
}
