package store

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func TestSecretsOnARealServer(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	t.Run("OK", func(t *testing.T) {
		n := newSecret("db/password")
		policy := generate.Policy{Length: 20, Lower: true, Exclude: "l"}
		n.Kind, n.RotationIntervalSecs, n.GeneratePolicy = core.Automatic, 3600, &policy
		made, err := d.CreateSecret(ctx, n, origin("create-1"))
		must(t, err)
		if made.NextRotationAt.Sub(made.CreatedAt) != time.Hour || made.CurrentVersion != 1 || made.ID != n.ID {
			t.Errorf("%+v", made)
		}
		want := vault.Secret{
			ID: n.ID, Name: n.Name, Kind: n.Kind, ContentType: n.ContentType, Description: "what", Tags: n.Tags,
			RotationIntervalSecs: 3600, Rotation: vault.Rotation{TimeZone: "UTC"}, GracePeriodSecs: 60, GeneratePolicy: &policy, FirstVersion: 1, CurrentVersion: 1, SettingsRevision: 1,
			NextRotationAt: made.NextRotationAt, CreatedAt: made.CreatedAt, UpdatedAt: made.UpdatedAt,
		}
		if made.Position.LSN == 0 {
			t.Error("no position")
		}
		made.Position = core.Position{}
		if diff := cmp.Diff(want, made); diff != "" {
			t.Error(diff)
		}
		for name, ask := range map[string]func(context.Context, core.Name) (vault.Secret, error){
			"writer": func(ctx context.Context, n core.Name) (vault.Secret, error) { return describedOnWriter(d, ctx, n) },
			"reader": func(ctx context.Context, n core.Name) (vault.Secret, error) {
				return described(d, ctx, n, vault.Freshness{})
			},
		} {
			got, err := ask(ctx, n.Name)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(name, diff)
			}
		}
		rows, err := sealedRows(d, ctx, []core.Name{n.Name, "none"}, 0, vault.Freshness{})
		must(t, err)
		if len(rows) != 1 || !cmp.Equal(rows[0].Sealed, n.Sealed) || rows[0].SecretID != n.ID || rows[0].Version != 1 || !rows[0].ExpiresAt.IsZero() {
			t.Errorf("%+v", rows)
		}
		text := ""
		v := vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate, Description: &text}
		made, err = d.AppendVersion(ctx, v, origin("update-1"))
		must(t, err)
		if made.CurrentVersion != 2 || made.Description != "" || made.Tags["team"] != "core" || made.GracePeriodSecs != 60 {
			t.Errorf("%+v", made)
		}
		_, err = d.AppendVersion(ctx, v, origin("update-2"))
		code(t, err, core.Stale)
		if !strings.Contains(core.MessageOf(err), "version 2") {
			t.Error(core.MessageOf(err))
		}
		rows, err = verifiableRows(d, ctx, n.Name, vault.Freshness{})
		must(t, err)
		if len(rows) != 2 || rows[0].Version != 2 || rows[1].ExpiresAt.IsZero() || !bytes.Equal(rows[1].Sealed.Nonce, n.Sealed.Nonce) {
			t.Errorf("%+v", rows)
		}
		versions, err := versionsOf(d, ctx, n.Name, vault.Freshness{})
		must(t, err)
		if len(versions) != 2 || versions[0].Version != 2 || versions[0].KMSKeyID != "local" {
			t.Errorf("%+v", versions)
		}
		code(t, only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("delete-1"))), core.Stale)
		must(t, only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 2}, origin("delete-2"))))
		code(t, only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 2}, origin("delete-3"))), core.NotFound)
		_, err = described(d, ctx, n.Name, vault.Freshness{})
		code(t, err, core.NotFound)
		_, err = d.AppendVersion(ctx, v, origin("update-3"))
		code(t, err, core.NotFound)
		for id, want := range map[string]int{"create-1": 1, "update-1": 1, "update-2": 0, "delete-1": 0, "delete-2": 1, "delete-3": 0} {
			if got := s.audited(id); got != want {
				t.Errorf("%s: %d records, want %d", id, got, want)
			}
		}
	})
	t.Run("ErrExists", func(t *testing.T) {
		_, err := d.CreateSecret(ctx, newSecret("twice"), origin("x"))
		must(t, err)
		_, err = d.CreateSecret(ctx, newSecret("twice"), origin("x"))
		code(t, err, core.Exists)
	})
	t.Run("ErrInvalidShowsNoRow", func(t *testing.T) {
		n := newSecret("bad/nonce")
		n.Sealed.Nonce = []byte("short")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		code(t, err, core.Invalid)
		if all := fmt.Sprintf("%+v", err); strings.Contains(all, fmt.Sprintf("%x", n.Sealed.Ciphertext)) || !strings.Contains(all, "secret_versions_fit") {
			t.Error(all)
		}
		n = newSecret("bad/tags")
		n.Tags = map[string]string{"k": strings.Repeat("v", 5000)}
		_, err = d.CreateSecret(ctx, n, origin("x"))
		code(t, err, core.Invalid)
		if !strings.Contains(core.MessageOf(err), "tags") {
			t.Error(core.MessageOf(err))
		}
	})
	t.Run("OKPages", func(t *testing.T) {
		for _, n := range []string{"p/b", "p/A", "p/a-1", "p/c"} {
			_, err := d.CreateSecret(ctx, newSecret(n), origin("x"))
			must(t, err)
		}
		page, err := listed(d, ctx, "p/", "p/A", 2, vault.Freshness{})
		must(t, err)
		if len(page) != 2 || page[0].Name != "p/a-1" || page[1].Name != "p/b" {
			t.Errorf("%+v", page)
		}
	})
	// The database pages in byte order, in which '-' and '.' stand before '/', and digits after it: what a prefix selects is not
	// one range. It has to be what the prefix selects in Go, for every prefix, page by page.
	t.Run("OKPrefixes", func(t *testing.T) {
		var names []string
		for _, first := range []string{"a", "a-", "a.", "a0", "a_", "aA", "aa", "b"} {
			names = append(names, "q/"+first)
			for _, next := range []string{"-", ".", "0", "_", "a", "z"} {
				n := "q/" + first + "/" + next
				if _, err := core.ParseName(n); err == nil {
					names = append(names, n)
				}
			}
		}
		for _, n := range names {
			_, err := d.CreateSecret(ctx, newSecret(n), origin("x"))
			must(t, err)
		}
		slices.Sort(names)
		for _, prefix := range append([]string{"q", "q/", "q/a/", "q/a./", "q/aa/a/"}, names...) {
			var want, got []string
			for _, n := range names {
				if core.HasPrefix(core.Name(n), prefix) {
					want = append(want, n)
				}
			}
			for after := ""; ; {
				page, err := listed(d, ctx, prefix, after, 3, vault.Freshness{})
				must(t, err)
				for _, r := range page {
					after = string(r.Name)
					got = append(got, after)
				}
				if len(page) < 3 {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s selects %q, want %q", prefix, got, want)
			}
		}
	})
	t.Run("OKOneWinner", func(t *testing.T) {
		n := newSecret("race")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		var wg sync.WaitGroup
		codes := make(chan core.Code, 16)
		for range 16 {
			wg.Go(func() {
				_, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionRotate}, origin("race"))
				codes <- core.CodeOf(err)
			})
		}
		wg.Wait()
		close(codes)
		count := map[core.Code]int{}
		for c := range codes {
			count[c]++
		}
		if count[""] != 1 || count[core.Stale] != 15 || s.audited("race") != 1 {
			t.Error(count)
		}
	})
	t.Run("ErrRowsEditedByHand", func(t *testing.T) {
		n := newSecret("edited")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		s.sql("app", "ALTER TABLE vault.secrets DISABLE TRIGGER secrets_settings_fit")
		for _, set := range []string{`updated_at = 'infinity'`, `tags = '{"a": 1}'`, `tags = '{"a": {"b": "c"}}'`, `generate_policy = '{"length": 1}'`, `generate_policy = '{"x": 1}'`} {
			s.sql("app", "UPDATE vault.secrets SET tags = '{}', generate_policy = NULL; UPDATE vault.secrets SET "+set+" WHERE name = 'edited'")
			_, err = described(d, ctx, "edited", vault.Freshness{})
			code(t, err, core.Corrupt)
			x, err := describedOnWriter(d, ctx, "edited")
			code(t, err, core.Corrupt)
			if x.ID != n.ID || x.Name != n.Name || x.CurrentVersion != 1 {
				t.Errorf("it is %+v", x)
			}
			// It is listed, and hides no other.
			list, err := listed(d, ctx, "", "", 1000, vault.Freshness{})
			must(t, err)
			bad := 0
			for _, r := range list {
				if r.Err != nil {
					bad++
					code(t, r.Err, core.Corrupt)
				}
				if (r.Err != nil) != (r.Name == "edited") {
					t.Errorf("%s: %v", r.Name, r.Err)
				}
			}
			if bad != 1 || len(list) < 5 {
				t.Errorf("%d of %d", bad, len(list))
			}
			s.sql("app", "UPDATE vault.secrets SET updated_at = now()")
		}
		s.sql("app", "UPDATE vault.secrets SET generate_policy = '{\"x\": 1}' WHERE name = 'edited'")
		_, err = d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("x"))
		must(t, err)
	})
}

func TestAuditOnARealServer(t *testing.T) {
	s := newServer(t)
	d := s.open()
	e := vault.Entry{Origin: origin("a-1").Origin, Action: vault.ActionRead, Name: "a/b", Version: 3, Outcome: vault.OutcomeOK}
	must(t, d.AppendAudit(t.Context(), []vault.Entry{e}))
	e.Origin = vault.Origin{Node: "n", Actor: "role:app", SessionRole: "login", RequestID: "a-2", ClientIP: netip.MustParseAddr("2001:db8::1")}
	e.Name, e.Version, e.Outcome, e.Code = "", 0, vault.OutcomeDenied, core.Denied
	must(t, d.AppendAudit(t.Context(), []vault.Entry{e}))
	const row = `SELECT concat_ws('|', node, actor, session_role, host(client_ip), action, secret_name, version, outcome, code)
		FROM vault.audit(NULL, NULL, 100) WHERE request_id = $1`
	for id, want := range map[string]string{
		"a-1": "node1|token:ops|10.0.0.7|read|a/b|3|ok|", "a-2": "n|role:app|login|2001:db8::1|read|denied|denied",
	} {
		if got := value[string](s, row, id); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	e.Action = "unheard of"
	code(t, d.AppendAudit(t.Context(), []vault.Entry{e}), core.Invalid)
}

func TestWhatIsMissing(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	check := func(c Config, want string) {
		t.Helper()
		c.Hosts, c.RequestTimeout = []string{s.dir}, 2*time.Second
		d, err := Open(ctx, c)
		must(t, err)
		defer func() { must(t, d.Close(context.Background())) }()
		_, reading := sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
		_, writing := d.CreateSecret(ctx, newSecret("a"), origin("x"))
		for _, err := range []error{reading, writing, d.CheckReader(ctx), d.CheckWriter(ctx)} {
			code(t, err, core.Unavailable)
			if !strings.Contains(core.MessageOf(err), want) {
				t.Errorf("%q, want %q", core.MessageOf(err), want)
			}
		}
	}
	s.sql("postgres", "CREATE ROLE stranger LOGIN")
	check(Config{User: "vault_service", Database: "postgres"}, `extension hyperion_vault is not installed in database "postgres"`)
	check(Config{User: "stranger", Database: "app"}, "grant_service_role")
	check(Config{User: "vault_service", Database: "none"}, `the database "none" does not exist`)
	check(Config{User: "absent_role", Database: "app"}, "does not admit the API's role")
	d := s.open()
	must(t, d.CheckReader(ctx))
	must(t, d.CheckWriter(ctx))
	if v, err := d.Schema(ctx); err != nil || v.Version == "" {
		t.Error(v, err)
	}
	t.Run("ErrReaderCannotWrite", func(t *testing.T) {
		_, err := d.reader.Exec(ctx, "CREATE TEMP TABLE x ()")
		if err == nil || !strings.Contains(err.Error(), "25006") {
			t.Error(err)
		}
	})
	t.Run("ErrServerAway", func(t *testing.T) {
		s.stop()
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		_, err := d.CreateSecret(ctx, newSecret("a"), origin("x"))
		code(t, err, core.Unavailable)
		_, err = sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
		code(t, err, core.Unavailable)
	})
}

// TestSettingsRevision: of two changes that expect the same settings one is made.
func TestSettingsRevision(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	n := newSecret("a")
	made, err := d.CreateSecret(ctx, n, origin("x"))
	must(t, err)
	configure := func(revision uint64, text string) (vault.Secret, error) {
		return d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Revision: revision, Settings: vault.Settings{Description: &text}}, origin(text))
	}
	got, err := configure(made.SettingsRevision, "mine")
	if err != nil || got.SettingsRevision != made.SettingsRevision+1 {
		t.Errorf("%+v %v", got, err)
	}
	code(t, only(configure(made.SettingsRevision, "theirs")), core.Stale)
	got, err = configure(0, "whatever")
	if err != nil || got.SettingsRevision != made.SettingsRevision+2 || s.audited("mine") != 1 || s.audited("theirs") != 0 {
		t.Errorf("%+v %v", got, err)
	}
	_, err = d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("x"))
	must(t, err)
	if got, err = described(d, ctx, "a", vault.Freshness{}); err != nil || got.SettingsRevision != made.SettingsRevision+2 {
		t.Errorf("a new value changed the settings: %+v %v", got, err)
	}
}
