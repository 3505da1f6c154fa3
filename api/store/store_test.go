package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func origin(id string) vault.Author {
	return vault.Author{By: vault.Itself(), Origin: vault.Origin{
		Node: "node1", Actor: "token:ops", ClientIP: netip.MustParseAddr("10.0.0.7"), RequestID: id,
	}}
}

func sealedValue() vault.SealedValue {
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		return b
	}
	return vault.SealedValue{
		EnvelopeVersion: 1, Key: vault.WrappedKey{KeyID: "local", Wrapped: random(60)}, Nonce: random(24), Ciphertext: random(40),
	}
}

func newSecret(name string) vault.NewSecret {
	id, _ := core.NewSecretID(rand.Reader)
	return vault.NewSecret{
		ID: id, Name: core.Name(name), Version: 1, Sealed: sealedValue(), Kind: core.Manual, ContentType: core.Text,
		Description: "what", Tags: map[string]string{"team": "core"}, GracePeriodSecs: 60,
	}
}

func code(t *testing.T, err error, want core.Code) {
	t.Helper()
	if got := core.CodeOf(err); got != want {
		t.Fatalf("code %q, want %q: %v", got, want, err)
	}
}

// only drops what a call returns beside its error.
func only[T any](_ T, err error) error { return err }

// audited counts the records of a request.
func (s *server) audited(id string) int {
	s.t.Helper()
	return int(value[int64](s, "SELECT count(*) FROM vault.audit_log WHERE request_id = $1", id))
}

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
	check(Config{User: "nobody", Database: "app"}, "does not admit the API's role")
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

func TestLostAnswers(t *testing.T) {
	s := newServer(t)
	cut := s.cutter()
	d := s.open(cut.host())
	ctx := t.Context()
	kept := newSecret("kept")
	_, err := d.CreateSecret(ctx, kept, origin("x"))
	must(t, err)
	for _, c := range []struct {
		name string
		mode cutMode
		n    int
	}{{"the request, once", beforeServer, 1}, {"the answer, once", afterServer, 1}, {"both, three times", beforeServer, 3}} {
		t.Run(c.name, func(t *testing.T) {
			id := strings.ReplaceAll(c.name, " ", "-")
			once := func(request string, f func(vault.Author) error) {
				t.Helper()
				request += id
				cut.lose([]byte(request), c.mode, c.n)
				if err := f(origin(request)); err != nil {
					t.Errorf("%s: %v", request, err)
				}
				if got := s.audited(request); got != 1 {
					t.Errorf("%s took effect %d times", request, got)
				}
			}
			n := newSecret("lost/" + strings.Map(letters, c.name))
			once("create-", func(o vault.Author) error {
				made, err := d.CreateSecret(ctx, n, o)
				if err == nil && made.CurrentVersion != 1 {
					return errors.New("not the version made")
				}
				return err
			})
			once("append-", func(o vault.Author) error {
				made, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, o)
				if err == nil && made.CurrentVersion != 2 {
					return errors.New("not the version made")
				}
				return err
			})
			once("configure-", func(o vault.Author) error {
				text := c.name
				got, err := d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 2, Settings: vault.Settings{Description: &text}}, o)
				if err == nil && (got.Description != text || got.CurrentVersion != 2 || got.Position.LSN == 0) {
					return fmt.Errorf("answered %+v", got)
				}
				return err
			})
			once("shorten-", func(o vault.Author) error {
				got, err := d.ExpireVersion(ctx, vault.Expiry{ID: n.ID, Name: n.Name, Version: 1, GraceSecs: 30}, o)
				if stored := value[time.Time](s, "SELECT expires_at FROM vault.secret_versions WHERE secret_id = $1 AND version = 1", n.ID); err == nil && !got.ExpiresAt.Equal(stored) {
					return fmt.Errorf("answered %+v, not %s", got, stored)
				}
				return err
			})
			once("expire-", func(o vault.Author) error {
				got, err := d.ExpireVersion(ctx, vault.Expiry{ID: n.ID, Name: n.Name, Version: 1}, o) // which deletes it
				if err == nil && (got.Version != 1 || got.KMSKeyID != "local" || got.Position.LSN == 0 || got.ExpiresAt.After(value[time.Time](s, "SELECT clock_timestamp()"))) {
					return fmt.Errorf("answered %+v", got)
				}
				return err
			})
			once("delete-", func(o vault.Author) error {
				return only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 2}, o))
			})
			tok := vault.NewToken{ID: vault.TokenID(n.ID), Name: strings.Map(letters, c.name), Fingerprint: [32]byte(append(bytes.Clone(n.ID[:]), n.ID[:]...))}
			once("token-", func(o vault.Author) error { return only(d.CreateToken(ctx, tok, vault.AdminRole, o)) })
			once("revoke-", func(o vault.Author) error {
				_, _, err := d.RevokeToken(ctx, tok.ID, o)
				return err
			})
		})
	}
	t.Run("ErrRefusedAfterALoss", func(t *testing.T) {
		cut.lose([]byte("again-1"), beforeServer, 1)
		_, err := d.CreateSecret(ctx, newSecret("kept"), origin("again-1"))
		code(t, err, core.Exists) // had it been made, deleted, and made again by another, the version there were another
		// Somebody else has made the version that the lost request was for.
		next := vault.NewVersion{ID: kept.ID, Name: kept.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}
		_, err = d.AppendVersion(ctx, next, origin("other"))
		must(t, err)
		cut.lose([]byte("again-2"), beforeServer, 1)
		next.Sealed = sealedValue()
		_, err = d.AppendVersion(ctx, next, origin("again-2"))
		code(t, err, core.Stale)
	})
	t.Run("ErrDoneThenDeletedByAnother", func(t *testing.T) {
		n := newSecret("undone")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		cut.lose([]byte("vanishing"), beforeServer, 1)
		cut.meanwhile(func() {
			must(t, only(s.open().DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("x"))))
		})
		_, err = d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("vanishing"))
		outcomeUnknown(t, err)
	})
	t.Run("OKSettingsOfAnotherStay", func(t *testing.T) {
		n := newSecret("settings")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		configure := func(d *DB, text, id string) (vault.Secret, error) {
			return d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Settings: vault.Settings{Description: &text}}, origin(id))
		}
		other := s.open()
		cut.lose([]byte("settings-1"), afterServer, 1)
		cut.meanwhile(func() { must(t, only(configure(other, "theirs", "settings-2"))) })
		got, err := configure(d, "mine", "settings-1")
		must(t, err)
		if stored := value[string](s, "SELECT description FROM vault.secrets WHERE name = 'settings'"); stored != "theirs" || got.Description != "theirs" {
			t.Errorf("what was set and acknowledged last is undone: %q is stored, %q answered", stored, got.Description)
		}
		if a, b := s.audited("settings-1"), s.audited("settings-2"); a != 1 || b != 1 {
			t.Errorf("%d and %d records", a, b)
		}
	})
	t.Run("ErrConfiguredThenDeletedByAnother", func(t *testing.T) {
		n := newSecret("configured")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		cut.lose([]byte("configured-1"), afterServer, 1)
		cut.meanwhile(func() {
			must(t, only(s.open().DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("x"))))
		})
		text := "mine"
		_, err = d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Settings: vault.Settings{Description: &text}}, origin("configured-1"))
		outcomeUnknown(t, err)
	})
	t.Run("ErrAnotherDeletedIt", func(t *testing.T) {
		n := newSecret("gone")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		cut.lose([]byte("mine"), beforeServer, 1)
		cut.meanwhile(func() {
			must(t, only(s.open().DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("theirs"))))
		})
		err = only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: 1}, origin("mine")))
		code(t, err, core.NotFound) // the other's deletion is not taken for this one
		if s.audited("mine") != 0 || s.audited("theirs") != 1 {
			t.Errorf("%d and %d records", s.audited("mine"), s.audited("theirs"))
		}
	})
	t.Run("OKTheSearchGoesOn", func(t *testing.T) {
		n := newSecret("searched")
		_, err := d.CreateSecret(ctx, n, origin("x"))
		must(t, err)
		text := "searched"
		for request, change := range map[string]func(o vault.Author) error{
			"found-1": func(o vault.Author) error {
				return only(d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: n.Name, Expected: 1, Settings: vault.Settings{Description: &text}}, o))
			},
			"found-2": func(o vault.Author) error { return only(d.CreateSecret(ctx, newSecret("searched/2"), o)) },
		} {
			// The answer is lost, and then the confirmation that it is durable, again and again.
			cut.lose([]byte(request), afterServer, 1)
			cut.meanwhile(func() { cut.lose([]byte("pg_logical_emit_message"), beforeServer, 4) })
			must(t, change(origin(request)))
			if s.audited(request) != 1 {
				t.Errorf("%s: %d records", request, s.audited(request))
			}
			if cut.left() != 0 {
				t.Errorf("%s: only some confirmations were lost", request)
			}
		}
	})
	t.Run("ErrARecordIsNotSentTwice", func(t *testing.T) {
		for mode, want := range map[cutMode]int{beforeServer: 0, afterServer: 1} {
			id := fmt.Sprintf("record-%d", mode)
			cut.lose([]byte(id), mode, 1)
			err := d.AppendAudit(ctx, []vault.Entry{vault.Entry{Origin: origin(id).Origin, Action: vault.ActionRead, Outcome: vault.OutcomeOK}})
			code(t, err, core.Unavailable)
			if !strings.Contains(core.MessageOf(err), "unknown") || s.audited(id) != want {
				t.Errorf("%v, %d records", err, s.audited(id))
			}
		}
	})
	t.Run("OKReads", func(t *testing.T) {
		for _, mode := range []cutMode{beforeServer, afterServer} {
			cut.lose([]byte("kept"), mode, 1)
			rows, err := sealedRows(d, ctx, []core.Name{"kept"}, 0, vault.Freshness{})
			if err != nil || len(rows) != 1 {
				t.Errorf("%v", err)
			}
			cut.lose([]byte("kept"), mode, 1)
			_, err = describedOnWriter(d, ctx, "kept")
			must(t, err)
		}
	})
}

func outcomeUnknown(t *testing.T, err error) {
	t.Helper()
	code(t, err, core.Unavailable)
	if !strings.Contains(core.MessageOf(err), "unknown") || !errors.Is(err, vault.ErrOutcomeUnknown) {
		t.Errorf("told %v", err) // the audit calls it failed otherwise
	}
}

func letters(r rune) rune {
	if r == ' ' || r == ',' {
		return '-'
	}
	return r
}

func TestAWriteThatWaits(t *testing.T) {
	s := newServer(t)
	d := s.open()
	n := newSecret("locked")
	_, err := d.CreateSecret(t.Context(), n, origin("x"))
	must(t, err)
	blocker := s.connect("app")
	defer func() { _ = blocker.Close(context.Background()) }()
	lock := func() pgx.Tx {
		t.Helper()
		tx, err := blocker.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), "SELECT FROM vault.secrets WHERE name = 'locked' FOR UPDATE")
		must(t, err)
		return tx
	}
	update := func(ctx context.Context, expected uint64, id string) error {
		_, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: expected, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin(id))
		return err
	}
	t.Run("ErrUnknownAtTheDeadlineAndStillDone", func(t *testing.T) {
		tx := lock()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := update(ctx, 1, "late")
		code(t, err, core.Unavailable)
		if !strings.Contains(core.MessageOf(err), "unknown") {
			t.Error(core.MessageOf(err))
		}
		must(t, tx.Rollback(t.Context()))
		s.until("SELECT count(*) = 1 FROM vault.audit_log WHERE request_id = 'late'")
	})
	t.Run("OKCancelDoesNotCancel", func(t *testing.T) {
		tx := lock()
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() { got <- update(ctx, 2, "gone") }()
		s.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
		cancel()
		must(t, tx.Rollback(t.Context()))
		must(t, <-got)
	})
	t.Run("ErrLockTimeout", func(t *testing.T) {
		tx := lock()
		err := update(t.Context(), 3, "never")
		code(t, err, core.Unavailable)
		if strings.Contains(core.MessageOf(err), "unknown") {
			t.Error("a lock that was not got is a certain refusal")
		}
		must(t, tx.Rollback(t.Context()))
		if s.audited("never") != 0 {
			t.Error("it took effect")
		}
	})
}

// until asks as superuser until the answer is true.
func (s *server) until(question string) {
	s.t.Helper()
	c := s.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	pgtest.Eventually(s.t, question, func() (yes bool) {
		must(s.t, c.QueryRow(s.t.Context(), question).Scan(&yes))
		return yes
	})
}

func TestAWarningIsADoubt(t *testing.T) {
	s := newServer(t)
	s.sql("app", `CREATE FUNCTION public.warns() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'canceling wait'; RETURN true; END $$;
		GRANT USAGE ON SCHEMA public TO vault_service`)
	d := s.open()
	for range 2 { // also on a connection that was warned before
		_, err := perform(t.Context(), d, change[bool]{sql: "SELECT public.warns()", row: pgx.RowTo[bool]})
		code(t, err, core.Unavailable)
		if !strings.Contains(core.MessageOf(err), "unknown") {
			t.Error(err)
		}
		must(t, d.AppendAudit(t.Context(), []vault.Entry{vault.Entry{Origin: origin("after").Origin, Action: vault.ActionRead, Outcome: vault.OutcomeOK}}))
	}
}

func TestEndedSessionsAreReplaced(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	must(t, d.CheckReader(ctx))
	must(t, d.CheckWriter(ctx))
	for i := range 3 {
		s.sql("app", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'vault_service'")
		_, err := d.CreateSecret(ctx, newSecret(fmt.Sprintf("n%d", i)), origin("x"))
		must(t, err)
		_, err = described(d, ctx, core.Name(fmt.Sprintf("n%d", i)), vault.Freshness{})
		must(t, err)
	}
}

func TestAServerThatRefusesWrites(t *testing.T) {
	s := newServer(t)
	d := s.open()
	must(t, d.CheckWriter(t.Context()))
	s.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on")
	s.sql("postgres", "SELECT pg_reload_conf()")
	s.until("SELECT current_setting('default_transaction_read_only') = 'on'")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := d.CreateSecret(ctx, newSecret("a"), origin("x"))
	code(t, err, core.Unavailable)
	if !strings.Contains(core.MessageOf(err), "default_transaction_read_only") {
		t.Errorf("a refusal is certain, and has a cause: %v", err)
	}
	// It comes back while a change is being tried.
	got := make(chan error, 1)
	go func() {
		_, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
		got <- err
	}()
	s.sql("postgres", "ALTER SYSTEM RESET default_transaction_read_only")
	s.sql("postgres", "SELECT pg_reload_conf()")
	must(t, <-got)
}

func TestFailover(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	hosts := []string{b.dir, a.dir} // this node is the standby
	d := a.open(hosts...)
	ctx := t.Context()
	n := newSecret("a")
	_, err := d.CreateSecret(ctx, n, origin("one"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	rows, err := sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
	if err != nil || len(rows) != 1 {
		t.Fatal(err)
	}
	if got := value[int64](b, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vault_service'"); got == 0 {
		t.Error("reads are not on the first host")
	}
	a.stop()
	rows, err = sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
	if err != nil || len(rows) != 1 {
		t.Errorf("reads do not go on without the primary: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, _, err = d.ListTokens(short, vault.Itself(), vault.TokenID{}, 10, vault.Freshness{Primary: true})
	code(t, err, core.Unavailable)
	// A change that is tried while nobody is primary is done once somebody is.
	got := make(chan error, 1)
	go func() {
		_, err := d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("two"))
		got <- err
	}()
	b.promote()
	must(t, <-got)
	if b.audited("two") != 1 {
		t.Error("not there once")
	}
}

// TestFailoverDuringTheSearch: the answer to a change is lost, and its primary while the change is looked for. It is in
// force once on the new primary, which has it already or never got it.
func TestFailoverDuringTheSearch(t *testing.T) {
	for _, replicated := range []bool{true, false} {
		t.Run(fmt.Sprintf("Replicated=%t", replicated), func(t *testing.T) { failOverDuringTheSearch(t, replicated) })
	}
}

func failOverDuringTheSearch(t *testing.T, replicated bool) {
	a := newServer(t)
	b := a.standby()
	cut := a.cutter()
	d := a.open(cut.host(), b.dir)
	made, err := d.CreateSecret(t.Context(), newSecret("a"), origin("x"))
	must(t, err)
	b.until("SELECT count(*) = 1 FROM vault.secrets")
	if !replicated {
		b.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''")
		b.sql("postgres", "SELECT pg_reload_conf()")
		b.until("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
	}
	failedOver := false
	cut.lose([]byte("searched"), afterServer, 1)
	cut.meanwhile(func() {
		// The first confirmation is lost too: the change has been found by then, and the search is not over.
		cut.lose([]byte("pg_logical_emit_message"), beforeServer, 1)
		cut.meanwhile(func() {
			failedOver = true
			if got := a.audited("searched"); got != 1 {
				t.Errorf("the old primary has %d records", got)
			}
			if replicated {
				b.until("SELECT count(*) = 2 FROM vault.secret_versions")
			}
			a.stop()
			b.promote()
		})
	})
	next, err := d.AppendVersion(t.Context(), nextVersion(made), origin("searched"))
	must(t, err)
	cut.close() // and waits for what it does
	if !failedOver || next.CurrentVersion != 2 || next.Position.Timeline != 2 {
		t.Errorf("failed over: %t, answered %+v", failedOver, next)
	}
	if got := b.audited("searched"); got != 1 {
		t.Errorf("the new primary has %d records", got)
	}
}

func TestThePrimaryIsAskedWhetherItIs(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.open()
	// A writer pool that has been left with connections to a demoted server.
	stale := b.open()
	must(t, stale.writer.CloseWithin(t.Context()))
	var err error
	stale.writer, err = Config{Hosts: []string{b.dir}, User: "vault_service", Database: "app"}.withDefaults().reader(nil)
	must(t, err)
	must(t, only(d.CreateToken(t.Context(), vault.NewToken{ID: vault.TokenID{1}, Name: "ops", Fingerprint: [32]byte{1}}, vault.AdminRole, origin("x"))))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err = stale.ListTokens(ctx, vault.Itself(), vault.TokenID{}, 10, vault.Freshness{Primary: true})
	code(t, err, core.Unavailable)
	code(t, stale.CheckWriter(ctx), core.Unavailable)
	must(t, stale.CheckReader(t.Context()))
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	s := newServer(t)
	d, err := Open(t.Context(), Config{Hosts: []string{s.dir}, User: "vault_service", Database: "app"})
	must(t, err)
	s.sql("app", "CREATE FUNCTION public.waits() RETURNS boolean LANGUAGE sql AS 'SELECT true FROM pg_sleep(60)'; GRANT USAGE ON SCHEMA public TO vault_service")
	got := make(chan error, 1)
	go func() {
		_, err := perform(context.Background(), d, change[bool]{sql: "SELECT public.waits()", row: pgx.RowTo[bool]})
		got <- err
	}()
	s.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%waits()' AND wait_event = 'PgSleep'")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	if err := d.Close(ctx); err == nil || time.Since(begun) > time.Second {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
	if err := <-got; !strings.Contains(core.MessageOf(err), "unknown") {
		t.Error(err)
	}
}
