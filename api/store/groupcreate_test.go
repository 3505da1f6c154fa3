package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// newSecrets are n secrets that are not stored.
func newSecrets(prefix string, n int) (out []vault.NewSecret) {
	for i := range n {
		out = append(out, newSecret(fmt.Sprintf("%s/%02d", prefix, i)))
	}
	return out
}

// storeReply is that of a creation that was made in the background.
type storeReply struct {
	s    vault.NewSecret
	made vault.Secret
	err  error
}

// store makes secrets at the same time. The request of each has its name as id.
func (g *groupDesk) store(ctx context.Context, by vault.Credential, secrets ...vault.NewSecret) <-chan storeReply {
	out := make(chan storeReply, len(secrets))
	for _, s := range secrets {
		go func() {
			made, err := g.d.CreateSecret(ctx, s, vault.Author{By: by, Origin: vault.Origin{Node: "node1", RequestID: string(s.Name)}})
			out <- storeReply{s, made, err}
		}()
	}
	return out
}

// storeHeld has creations wait for each other. They are made once it is released.
func (g *groupDesk) storeHeld(secrets ...vault.NewSecret) (replies <-chan storeReply, release func()) {
	g.t.Helper()
	release = holdGroups(g.d.creations)
	replies = g.store(g.t.Context(), g.by, secrets...)
	awaitMembers(g.t, g.d.creations, len(secrets))
	return replies, release
}

// storeTogether makes secrets in one group.
func (g *groupDesk) storeTogether(secrets ...vault.NewSecret) (out []storeReply) {
	g.t.Helper()
	replies, release := g.storeHeld(secrets...)
	release()
	for range secrets {
		out = append(out, <-replies)
	}
	return out
}

func (r storeReply) isMade(t *testing.T) {
	t.Helper()
	m, s := r.made, r.s
	s.Rotation.TimeZone = "UTC"
	if r.err != nil || m.Name != s.Name || m.ID != s.ID || m.CurrentVersion != s.Version || m.FirstVersion != s.Version || m.Kind != s.Kind ||
		m.ContentType != s.ContentType || m.Description != s.Description || !maps.Equal(m.Tags, s.Tags) || m.GracePeriodSecs != s.GracePeriodSecs ||
		m.Rotation != s.Rotation || m.CASRequired != s.CASRequired || m.DeleteVersionAfterSecs != s.DeleteVersionAfterSecs ||
		m.SettingsRevision != 1 || m.CreatedAt.IsZero() || m.Position.LSN == 0 || m.Position.Timeline != 1 {
		t.Errorf("%s: %+v, %v", s.Name, m, r.err)
	}
}

// wantStored checks that a secret is stored once, with its record.
func (g *groupDesk) wantStored(s vault.NewSecret) {
	g.t.Helper()
	c := g.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	var first, records, changes int
	var id [16]byte
	var nonce []byte
	var actor, node, address, request *string
	must(g.t, c.QueryRow(g.t.Context(), `SELECT s.id, s.first_version, v.nonce, l.actor, l.node, host(l.client_ip), l.request_id,
		(SELECT count(*) FROM vault.audit_log x WHERE x.secret_name = s.name AND x.action = 'create' AND x.version = s.first_version),
		(SELECT count(*) FROM vault.changes x WHERE x.name = s.name AND x.action = 'create' AND x.version = s.first_version)
		FROM vault.secrets s JOIN vault.secret_versions v ON v.secret_id = s.id AND v.version = s.current_version
		JOIN vault.audit_log l ON l.secret_name = s.name AND l.version = s.current_version WHERE s.name = $1 AND s.deleted_at IS NULL`, string(s.Name)).
		Scan(&id, &first, &nonce, &actor, &node, &address, &request, &records, &changes))
	if id != s.ID || uint64(first) != s.Version || !bytes.Equal(nonce, s.Sealed.Nonce) || records != 1 || changes != 1 {
		g.t.Errorf("%s: version %d, %d records, %d changes, its own value: %v", s.Name, first, records, changes, bytes.Equal(nonce, s.Sealed.Nonce))
	}
	if orZero(actor) != "token:writer" || orZero(node) != "node1" || orZero(address) != "10.0.0.7" || orZero(request) != string(s.Name) {
		g.t.Errorf("%s was recorded of %q at %q, %q, %q", s.Name, orZero(actor), orZero(node), orZero(address), orZero(request))
	}
}

// creating is in how many transactions secrets with a prefix were made.
func (g *groupDesk) creating(prefix string) int64 {
	g.t.Helper()
	return value[int64](g.server, "SELECT count(DISTINCT xid) FROM vault.changes WHERE name LIKE $1 || '/%' AND action = 'create'", prefix)
}

// TestCreationsShareTransactions: new secrets that wait at the same moment are one transaction, and each of them is what it is
// alone.
func TestCreationsShareTransactions(t *testing.T) {
	g := newGroupDesk(t)
	secrets := newSecrets("many", groupFits+6)
	secrets[0].Tags, secrets[0].Description, secrets[0].GracePeriodSecs = map[string]string{}, "", 0
	secrets[1].Rotation.KeepVersions, secrets[1].CASRequired, secrets[1].DeleteVersionAfterSecs = 3, true, 3600
	secrets[2].ContentType = core.JSON
	positions := map[core.LSN]bool{}
	for _, r := range g.storeTogether(secrets...) {
		r.isMade(t)
		g.wantStored(r.s)
		positions[r.made.Position.LSN] = true
	}
	if n := g.creating("many"); n != 2 || len(positions) > 2 {
		t.Errorf("%d creations took %d transactions, with %d positions", len(secrets), n, len(positions))
	}
	loose := newSecrets("loose", 40) // as they come, without a hand that holds them
	replies := g.store(t.Context(), g.by, loose...)
	for range loose {
		r := <-replies
		r.isMade(t)
		g.wantStored(r.s)
	}
	if n := g.creating("loose"); n > 20 {
		t.Errorf("%d creations took %d transactions", len(loose), n)
	}
}

// TestSecretsAreStoredTheSame: what a group stores of a secret and returns is what is stored and returned of it alone.
func TestSecretsAreStoredTheSame(t *testing.T) {
	g := newGroupDesk(t)
	plain := newSecret("plain")
	plain.Tags, plain.Description, plain.GracePeriodSecs = nil, "", 0
	full := newSecret("full")
	full.Rotation.KeepVersions, full.CASRequired, full.DeleteVersionAfterSecs, full.ContentType = 7, true, 60, core.Binary
	for _, s := range []vault.NewSecret{plain, full} {
		alone, grouped := s, s
		alone.Name, alone.ID, grouped.Name = s.Name+"/alone", newSecret("x").ID, s.Name+"/grouped"
		a, err := g.d.CreateSecret(t.Context(), alone, vault.Author{By: vault.Itself(), Origin: vault.Origin{Actor: "x"}})
		must(t, err)
		b := g.storeTogether(grouped)[0]
		must(t, b.err)
		b.made.Name, b.made.ID, b.made.CreatedAt, b.made.UpdatedAt, b.made.Position = a.Name, a.ID, a.CreatedAt, a.UpdatedAt, a.Position
		if got, want := fmt.Sprintf("%+v", b.made), fmt.Sprintf("%+v", a); got != want {
			t.Errorf("in a group\n%s\nand alone\n%s", got, want)
		}
		row := func(name core.Name) string {
			return value[string](g.server, `SELECT (to_jsonb(s) - '{id,name,created_at,updated_at}'::text[] || jsonb_build_object('life', v.delete_at - v.created_at))::text
				FROM vault.secrets s JOIN vault.secret_versions v ON v.secret_id = s.id WHERE s.name = $1`, string(name))
		}
		if got, want := row(grouped.Name), row(alone.Name); got != want {
			t.Errorf("a group stores\n%s\nand alone it is\n%s", got, want)
		}
	}
}

// TestCreationGroupMembers: a creation that cannot be made with others gets the answer that it gets alone, and the others are made.
func TestCreationGroupMembers(t *testing.T) {
	g := newGroupDesk(t)
	g.create("bad", 1)
	bad := newSecrets("bad", 4)
	taken, broken, failing, used := bad[0], bad[1], bad[2], bad[3]
	broken.Sealed.Nonce = broken.Sealed.Nonce[:23]
	must(t, only(g.d.CreateSecret(t.Context(), used, origin("create"))))
	must(t, only(g.d.DeleteSecret(t.Context(), vault.Deletion{ID: used.ID, Name: used.Name, Expected: 1}, origin("delete"))))
	used.ID = newSecret("x").ID
	next := newSecret("next/00")
	g.sql("app", `CREATE FUNCTION vault.fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE division_by_zero; END $$;
		CREATE TRIGGER fails AFTER INSERT ON vault.changes FOR EACH ROW WHEN (NEW.name = 'bad/02') EXECUTE FUNCTION vault.fails()`)
	wants := map[core.Name]core.Code{taken.Name: core.Exists, broken.Name: core.Invalid, failing.Name: core.Invalid, used.Name: core.Unavailable}
	for _, r := range g.storeTogether(append(newSecrets("good", 4), taken, broken, failing, used, next)...) {
		want := wants[r.s.Name]
		if want == "" {
			r.isMade(t)
			g.wantStored(r.s)
			continue
		}
		alone := only(g.d.CreateSecret(t.Context(), r.s, vault.Author{By: vault.Itself()}))
		if core.CodeOf(r.err) != want || core.MessageOf(r.err) != core.MessageOf(alone) {
			t.Errorf("%s: %v, want %s and %v", r.s.Name, r.err, want, alone)
		}
	}
	if n := g.creating("good"); n > 3 {
		t.Errorf("4 creations took %d transactions", n)
	}
	if n := value[int64](g.server, "SELECT count(*) FROM vault.audit_log WHERE secret_name IN ('bad/01', 'bad/02') AND outcome = 'ok'"); n != 0 {
		t.Errorf("%d records of what was not made", n)
	}
	used.Version, used.Sealed = 2, sealedValue() // as the door then does
	for _, r := range g.storeTogether(used, newSecret("beside")) {
		r.isMade(t)
		g.wantStored(r.s)
	}
	if n := value[int64](g.server, "SELECT count(DISTINCT xid) FROM vault.changes WHERE name = 'beside' OR name = 'bad/03' AND version = 2 AND action = 'create'"); n != 1 {
		t.Errorf("a name that was used before and another one took %d transactions", n)
	}
}

// TestOddCreationsAreSentAlone: what a group does not make is made.
func TestOddCreationsAreSentAlone(t *testing.T) {
	g := newGroupDesk(t)
	odd := newSecrets("odd", 7)
	odd[0].GeneratePolicy = &generate.Policy{Length: 30, Lower: true}
	odd[1].Kind, odd[1].RotationIntervalSecs = core.Automatic, 3600
	odd[2].Kind, odd[2].Rotation.Schedule = core.Automatic, "0 3 * * *"
	odd[3].Rotation.TimeZone = "Europe/Rome"
	odd[4].Rotation.WindowSecs = 600
	odd[5].Sealed.Ciphertext = bytes.Repeat([]byte("x"), groupedBytes+1)
	odd[6].Tags = map[string]string{}
	for i := range 40 {
		odd[6].Tags[fmt.Sprint(i)] = strings.Repeat("t", 500)
	}
	for _, s := range odd {
		made, err := g.d.CreateSecret(t.Context(), s, g.author(string(s.Name)))
		if err != nil || made.CurrentVersion != 1 {
			t.Errorf("%s: %+v, %v", s.Name, made, err)
		}
		encoded, err := tagsArg(s.Tags)
		must(t, err)
		if g.d.creations.maker(newCreation{&s, encoded, g.author("x")}) != nil {
			t.Errorf("a group would make %s", s.Name)
		}
	}
	s := newSecret("fits")
	if d := g.d.creations; d.maker(newCreation{&s, nil, vault.Author{By: vault.Itself()}}) != nil || d.maker(newCreation{&s, nil, vault.Author{By: vault.Credential{Claims: "{}"}}}) != nil {
		t.Error("a batch token, or the process itself, is decided about in a group")
	}
}

// TestCreationGroupDecides: each creation of a group is decided about by itself, by what is committed when it is made.
func TestCreationGroupDecides(t *testing.T) {
	g := newGroupDesk(t)
	g.sql("app", "CREATE ROLE app; SELECT vault.grant_access('app', 'app/*', '{create}')")
	app, revoked, scoped := g.token(g.d, "app", "app", nil), g.token(g.d, "revoked", vault.AdminRole, nil), g.token(g.d, "scoped", vault.AdminRole, func(n *vault.NewToken) {
		n.Scope = vault.Scope{{Pattern: "in/*", Actions: []string{"create"}}}
	})
	cases := []struct {
		by   vault.Credential
		name string
		want core.Code
	}{
		{app.Credential, "app/a", ""},
		{app.Credential, "other", core.Denied},
		{g.by, "own", ""},
		{revoked.Credential, "late", core.Unauthenticated},
		{scoped.Credential, "in/a", ""},
		{scoped.Credential, "out", core.Denied},
		{vault.Credential{Addr: g.by.Addr}, "nobody", core.Unauthenticated},
	}
	release := holdGroups(g.d.creations)
	var replies []<-chan storeReply
	for _, x := range cases {
		replies = append(replies, g.store(t.Context(), x.by, newSecret(x.name)))
	}
	awaitMembers(t, g.d.creations, len(cases))
	_, _, err := g.d.RevokeToken(t.Context(), revoked.id, origin("revoke"))
	must(t, err)
	release()
	for i, x := range cases {
		r := <-replies[i]
		if core.CodeOf(r.err) != x.want {
			t.Errorf("%s: %v", x.name, r.err)
		}
		odd := newSecret(x.name)
		odd.GeneratePolicy = &generate.Policy{Length: 30, Lower: true} // it is sent alone
		if alone := only(g.d.CreateSecret(t.Context(), odd, vault.Author{By: x.by})); x.want != "" && core.MessageOf(r.err) != core.MessageOf(alone) {
			t.Errorf("%s: %v, want %v", x.name, r.err, alone)
		}
		stored := value[int64](g.server, "SELECT count(*) FROM vault.secrets WHERE name = $1", x.name)
		records := value[int64](g.server, "SELECT count(*) FROM vault.audit_log WHERE secret_name = $1 AND outcome = 'ok'", x.name)
		if made := x.want == ""; (stored == 1) != made || (records == 1) != made {
			t.Errorf("%s: %d are stored, %d recorded", x.name, stored, records)
		}
	}
	if n := value[int64](g.server, "SELECT count(*) FROM vault.audit_log WHERE action = 'create' AND actor = 'token:app' AND secret_name = 'app/a'"); n != 1 {
		t.Errorf("%d records of the caller that may", n)
	}
}

// storeByHand makes a secret by a statement of its own.
const storeByHand = `SELECT vault.store_secret(gen_random_uuid(), 'taken/00', 1, ROW(1, 'k', '\x01', decode(repeat('ab', 24), 'hex'),
	decode(repeat('cd', 40), 'hex'))::vault.sealed_value, 'manual', 'text/plain', NULL, NULL, ROW('n', 'a', NULL, NULL, 'r')::vault.audit_origin)`

// TestATakenNameWaitsAlone: a transaction that takes a name delays the creation of that one alone.
func TestATakenNameWaitsAlone(t *testing.T) {
	g := newGroupDesk(t)
	c := g.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		g.sql("app", "DELETE FROM vault.secrets; DELETE FROM vault.changes")
		_, err := c.Exec(t.Context(), "BEGIN; "+storeByHand)
		must(t, err)
		secrets := newSecrets("taken", 5)
		replies, release := g.storeHeld(secrets...)
		release()
		for range secrets[1:] {
			r := <-replies
			r.isMade(t)
			if r.s.Name == secrets[0].Name {
				t.Errorf("%s did not wait", r.s.Name)
			}
		}
		g.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%store_secret%'")
		if n := g.creating("taken"); n != 1 {
			t.Errorf("%d transactions", n)
		}
		_, err = c.Exec(t.Context(), end)
		must(t, err)
		r := <-replies
		if end == "COMMIT" {
			code(t, r.err, core.Exists)
			continue
		}
		r.isMade(t)
		g.wantStored(r.s)
	}
}

// TestALockedTableEndsTheCreationGroup: a lock of a table delays each creation as it does alone, and no group waits for it.
func TestALockedTableEndsTheCreationGroup(t *testing.T) {
	g := newGroupDesk(t)
	c := g.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	_, err := c.Exec(t.Context(), "BEGIN; LOCK TABLE vault.secret_versions IN SHARE MODE")
	must(t, err)
	secrets := newSecrets("table", 3)
	sent := countSent(g.d.creations)
	replies, release := g.storeHeld(secrets...)
	release()
	g.until("SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%store_secret%'")
	_, err = c.Exec(t.Context(), "COMMIT")
	must(t, err)
	for range secrets {
		r := <-replies
		r.isMade(t)
		g.wantStored(r.s)
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("creations were sent together %d times", n)
	}
}

// TestTwoCreationsOfOneName: of two secrets of one name one is made, in whatever groups they are, and the other one exists.
func TestTwoCreationsOfOneName(t *testing.T) {
	g := newGroupDesk(t)
	check := func(replies ...storeReply) {
		t.Helper()
		var made, exist int
		for _, r := range replies {
			switch {
			case r.err == nil:
				made++
				r.isMade(t)
				g.wantStored(r.s)
			case core.CodeOf(r.err) == core.Exists && core.MessageOf(r.err) == "a secret of that name exists":
				exist++
			default:
				t.Errorf("%s: %v", r.s.Name, r.err)
			}
		}
		if made != 1 || exist != len(replies)-1 {
			t.Errorf("%s: %d made, %d exist", replies[0].s.Name, made, exist)
		}
	}
	for i := range 3 {
		name := fmt.Sprint("twice/", i)
		check(g.storeTogether(newSecret(name), newSecret(name))...)
	}
	other := g.open()
	const clients, names = 8, 40
	replies := make(chan storeReply, clients*names)
	for c := range clients {
		d := []*DB{g.d, other}[c%2]
		go func() {
			for i := range names {
				n := i
				if c%4 > 1 {
					n = names - 1 - i // two programs take them in two orders
				}
				s := newSecret(fmt.Sprint("raced/", n))
				made, err := d.CreateSecret(t.Context(), s, vault.Author{By: g.by, Origin: vault.Origin{Node: "node1", RequestID: string(s.Name)}})
				replies <- storeReply{s, made, err}
			}
		}()
	}
	of := map[core.Name][]storeReply{}
	for range clients * names {
		r := <-replies
		of[r.s.Name] = append(of[r.s.Name], r)
	}
	for _, replies := range of {
		check(replies...)
	}
}

// creationSleeper is a trigger that sleeps in one creation while a table has a row.
var creationSleeper = strings.Replace(sleeper, "'update'", "'create'", 1)

// TestKilledCreationGroup: a server that is killed in the middle of a group loses no creation and makes none twice.
func TestKilledCreationGroup(t *testing.T) {
	g := newGroupDesk(t)
	secrets := newSecrets("killed", 6)
	g.sql("app", creationSleeper)
	replies, release := g.storeHeld(secrets...)
	release()
	g.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	g.sql("app", "DELETE FROM public.sleeps")
	g.stop() // as kill -9 of all of it
	g.restart()
	for range secrets {
		r := <-replies
		r.isMade(t)
		g.wantStored(r.s)
	}
}

// TestEndedCreationGroup: a backend that is ended in the middle of a group leaves nothing, and each creation is made once.
func TestEndedCreationGroup(t *testing.T) {
	g := newGroupDesk(t)
	secrets := newSecrets("ended", 6)
	g.sql("app", creationSleeper)
	replies, release := g.storeHeld(secrets...)
	release()
	g.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	g.sql("app", "DELETE FROM public.sleeps; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	for range secrets {
		r := <-replies
		r.isMade(t)
		g.wantStored(r.s)
	}
}

// TestLostAnswersOfCreationGroups: an answer or a request that is lost was that of all, and each secret is made once.
func TestLostAnswersOfCreationGroups(t *testing.T) {
	s := newServer(t)
	cut := s.cutter()
	g := &groupDesk{server: s, d: s.open(cut.host())}
	g.by = s.token(g.d, "writer", vault.AdminRole, nil).Credential
	for prefix, mode := range map[string]cutMode{"request": beforeServer, "answer": afterServer} {
		secrets := newSecrets(prefix, 6)
		replies, release := g.storeHeld(secrets...)
		cut.lose([]byte(prefix+"/03"), mode, 1)
		release()
		for range secrets {
			r := <-replies
			if mode == afterServer {
				r.made.FirstVersion, r.made.CASRequired = r.s.Version, r.s.CASRequired // what is looked for has them not
			}
			r.isMade(t)
			g.wantStored(r.s)
		}
		if cut.left() != 0 {
			t.Error("nothing was lost")
		}
		if n := g.creating(prefix); mode == afterServer && n != 1 {
			t.Errorf("%d transactions", n)
		}
	}
}

// TestCreationGroupsNeedTheirFunction: with a schema that does not have it, secrets are made alone.
func TestCreationGroupsNeedTheirFunction(t *testing.T) {
	g := newGroupDesk(t)
	secrets := newSecrets("older", 3)
	g.sql("app", "ALTER EXTENSION hyperion_vault DROP FUNCTION vault.store_if_free; ALTER FUNCTION vault.store_if_free RENAME TO other")
	for _, r := range g.storeTogether(secrets[:2]...) {
		r.isMade(t)
		g.wantStored(r.s)
	}
	g.sql("app", "REVOKE EXECUTE ON FUNCTION vault.other FROM vault_service; ALTER FUNCTION vault.other RENAME TO store_if_free")
	r := g.storeTogether(secrets[2])[0]
	r.isMade(t)
	g.wantStored(r.s)
}
