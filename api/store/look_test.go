package store

import (
	"context"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestLooksAreDecidedEach: changes of several callers share a query, and each is decided about by itself.
func TestLooksAreDecidedEach(t *testing.T) {
	s := newServer(t)
	d := s.open()
	for _, n := range []string{"a/1", "b/1"} {
		must(t, only(d.CreateSecret(t.Context(), newSecret(n), origin("x"))))
	}
	s.sql("app", `CREATE ROLE ra; SELECT vault.grant_access('ra', 'a/*', '{create,update}');
		CREATE ROLE rb; SELECT vault.grant_access('rb', 'b/*', '{create,update,manage}')`)
	a, b := s.token(d, "ra", "ra", nil).Credential, s.token(d, "rb", "rb", nil).Credential
	unknown := vault.Credential{Fingerprint: [32]byte{7}}
	type want struct {
		cause vault.Cause
		name  string // of the secret; "" = none
	}
	wanted := map[lookQuestion]want{
		{a, "update", "a/1"}:                  {"", "a/1"},
		{b, "update", "a/1"}:                  {"grant", ""},
		{b, "update", "b/1"}:                  {"", "b/1"},
		{a, "delete", "a/1"}:                  {"grant", ""},
		{a, "create", "a/none"}:               {"", ""},
		{b, "self", "b/1"}:                    {"", "b/1"},
		{unknown, "update", "a/1"}:            {vault.CauseTokenUnknown, ""},
		{vault.Credential{}, "update", "a/1"}: {"grant", ""},
	}
	var questions []lookQuestion
	for q := range wanted {
		questions = append(questions, q)
	}
	results, err := d.queryLooks(t.Context(), questions)
	must(t, err)
	for _, r := range results {
		if got := (want{r.who.Cause, string(r.secret.Name)}); got != wanted[r.question] || r.found != (got.name != "") {
			t.Errorf("%s %s: %+v", r.question.right, r.question.name, r)
		}
	}
	if len(results) != len(questions) {
		t.Errorf("%d results of %d questions", len(results), len(questions))
	}
}

// TestUnreadableLooks: a look that fails lets no caller change anything, and leaves a decision that needs no row what it is.
func TestUnreadableLooks(t *testing.T) {
	s := newServer(t)
	d := s.open()
	must(t, only(d.CreateSecret(t.Context(), newSecret("a/1"), origin("x"))))
	s.sql("app", "CREATE ROLE ra; SELECT vault.grant_access('ra', 'a/*', '{update}')")
	by := s.token(d, "ra", "ra", nil).Credential
	d.looks = &sharedLooks{fail: failedLook, bound: time.Minute, most: 1, fits: maxBatch, ask: func(context.Context, []lookQuestion) ([]lookResult, error) {
		return nil, core.Errorf(core.Corrupt, "a page of it is gone")
	}}
	for _, who := range []vault.Credential{by, {Fingerprint: [32]byte{7}}} {
		_, _, err := d.DescribeSecretOnWriter(t.Context(), who, vault.ActionUpdate, "a/1")
		code(t, err, core.Corrupt)
	}
	for right, cause := range map[string]vault.Cause{"update": "", "create": "grant"} {
		i, err := d.Decide(t.Context(), by, right, "a/1", vault.Freshness{Primary: true})
		must(t, err)
		if i.Cause != cause || i.Acting != "ra" {
			t.Errorf("%s: %+v", right, i)
		}
	}
	i, err := d.Decide(t.Context(), vault.Credential{Fingerprint: [32]byte{7}}, "update", "a/1", vault.Freshness{Primary: true})
	if err != nil || i.Cause != vault.CauseTokenUnknown {
		t.Errorf("%+v, %v", i, err)
	}
}
