package store

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// groupDesk has secrets that a caller with a token changes.
type groupDesk struct {
	*server
	d  *DB
	by vault.Credential
}

func newGroupDesk(t *testing.T, hosts ...string) *groupDesk {
	t.Helper()
	s := newServer(t)
	g := &groupDesk{server: s, d: s.open(hosts...)}
	g.by = s.token(g.d, "writer", vault.AdminRole, nil).Credential
	return g
}

// author is the caller with an id of its request.
func (g *groupDesk) author(id string) vault.Author {
	return vault.Author{By: g.by, Origin: vault.Origin{Node: "node1", RequestID: id}}
}

// create makes n secrets.
func (g *groupDesk) create(prefix string, n int) (out []vault.NewSecret) {
	g.t.Helper()
	for i := range n {
		s := newSecret(fmt.Sprintf("%s/%02d", prefix, i))
		must(g.t, only(g.d.CreateSecret(g.t.Context(), s, origin("create"))))
		out = append(out, s)
	}
	return out
}

func nextOf(s vault.NewSecret) vault.NewVersion {
	return vault.NewVersion{ID: s.ID, Name: s.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}
}

// holdGroups keeps groups from beginning until it is undone, and has changes wait for it.
func holdGroups[C groupable](g *groups[C]) (release func()) {
	s := &g.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patience = time.Minute
	s.prompt += maxPrompt
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.prompt -= maxPrompt
		s.start()
	}
}

func awaitMembers[C groupable](t testing.TB, g *groups[C], n int) {
	t.Helper()
	pgtest.Eventually(t, fmt.Sprint(n, " changes wait"), func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting) == n
	})
}

// countSent counts the statements that groups send.
func countSent[C groupable](g *groups[C]) *atomic.Int32 {
	sent, args := new(atomic.Int32), g.kind.args
	g.kind.args = func(changes []C) []any {
		sent.Add(1)
		return args(changes)
	}
	return sent
}

// hold is holdGroups of changes of values.
func (g *groupDesk) hold() (release func()) { return holdGroups(g.d.appends) }

func (g *groupDesk) awaitWaiting(n int) {
	g.t.Helper()
	awaitMembers(g.t, g.d.appends, n)
}

// reply of a change that was made in the background.
type groupReply struct {
	v    vault.NewVersion
	made vault.Secret
	err  error
}

// append makes changes at the same time. The request of each has the name of its secret as id.
func (g *groupDesk) append(ctx context.Context, by vault.Credential, versions ...vault.NewVersion) <-chan groupReply {
	out := make(chan groupReply, len(versions))
	for _, v := range versions {
		go func() {
			made, err := g.d.AppendVersion(ctx, v, vault.Author{By: by, Origin: vault.Origin{Node: "node1", RequestID: string(v.Name)}})
			out <- groupReply{v, made, err}
		}()
	}
	return out
}

// together makes changes in one group.
func (g *groupDesk) together(versions ...vault.NewVersion) (out []groupReply) {
	g.t.Helper()
	release := g.hold()
	replies := g.append(g.t.Context(), g.by, versions...)
	g.awaitWaiting(len(versions))
	release()
	for range versions {
		out = append(out, <-replies)
	}
	return out
}

// wantOnce checks that a change is stored once, with its record.
func (g *groupDesk) wantOnce(v vault.NewVersion) {
	g.t.Helper()
	c := g.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	var current, records, changes int
	var nonce []byte
	var actor, node, address, request *string
	must(g.t, c.QueryRow(g.t.Context(), `SELECT s.current_version, v.nonce, l.actor, l.node, host(l.client_ip), l.request_id,
		(SELECT count(*) FROM vault.audit_log x WHERE x.secret_name = s.name AND x.action = 'update'),
		(SELECT count(*) FROM vault.changes x WHERE x.name = s.name AND x.action = 'update' AND x.version = s.current_version)
		FROM vault.secrets s JOIN vault.secret_versions v ON v.secret_id = s.id AND v.version = s.current_version
		JOIN vault.audit_log l ON l.secret_name = s.name AND l.version = s.current_version WHERE s.name = $1`, string(v.Name)).
		Scan(&current, &nonce, &actor, &node, &address, &request, &records, &changes))
	if current != 2 || !bytes.Equal(nonce, v.Sealed.Nonce) || records != 1 || changes != 1 {
		g.t.Errorf("%s: version %d, %d records, %d changes, its own value: %v", v.Name, current, records, changes, bytes.Equal(nonce, v.Sealed.Nonce))
	}
	if orZero(actor) != "token:writer" || orZero(node) != "node1" || orZero(address) != "10.0.0.7" || orZero(request) != string(v.Name) {
		g.t.Errorf("%s was recorded of %q at %q, %q, %q", v.Name, orZero(actor), orZero(node), orZero(address), orZero(request))
	}
}

func (r groupReply) isMade(t *testing.T) {
	t.Helper()
	if r.err != nil || r.made.Name != r.v.Name || r.made.ID != r.v.ID || r.made.CurrentVersion != 2 || r.made.Position.LSN == 0 || r.made.Position.Timeline != 1 {
		t.Errorf("%s: %+v, %v", r.v.Name, r.made, r.err)
	}
}

func (g *groupDesk) transactions(prefix string) int64 {
	g.t.Helper()
	return value[int64](g.server, "SELECT count(DISTINCT xid) FROM vault.changes WHERE name LIKE $1 || '/%' AND action = 'update'", prefix)
}

// TestChangesShareTransactions: changes of many secrets that wait at the same moment are one transaction, and each of them is
// what it is alone.
func TestChangesShareTransactions(t *testing.T) {
	g := newGroupDesk(t)
	var versions []vault.NewVersion
	for _, s := range g.create("many", groupFits+6) {
		versions = append(versions, nextOf(s))
	}
	positions := map[core.LSN]bool{}
	for _, r := range g.together(versions...) {
		r.isMade(t)
		g.wantOnce(r.v)
		positions[r.made.Position.LSN] = true
		if end := value[string](g.server, "SELECT pg_current_wal_flush_lsn()::text"); r.made.Position.LSN > mustLSN(t, end) {
			t.Errorf("%s ends at %v, the log at %s", r.v.Name, r.made.Position, end)
		}
	}
	// Both have one position if the log was reported to be past the second when the first was answered.
	if n := g.transactions("many"); n != 2 || len(positions) > 2 {
		t.Errorf("%d changes took %d transactions, with %d positions", len(versions), n, len(positions))
	}
	// As they come, without a hand that holds them.
	versions = nil
	for _, s := range g.create("loose", 40) {
		versions = append(versions, nextOf(s))
	}
	replies := g.append(t.Context(), g.by, versions...)
	for range versions {
		r := <-replies
		r.isMade(t)
		g.wantOnce(r.v)
	}
	if n := g.transactions("loose"); n > 20 {
		t.Errorf("%d changes took %d transactions", len(versions), n)
	}
}

func mustLSN(t *testing.T, text string) core.LSN {
	t.Helper()
	l, err := core.ParseLSN(text)
	must(t, err)
	return l
}

// TestGroupMembers: a change that cannot be made with others gets the answer that it gets alone, and the others are made.
func TestGroupMembers(t *testing.T) {
	g := newGroupDesk(t)
	secrets := g.create("good", 4)
	bad := g.create("bad", 9)
	stale, gone, bound, broken, failing, deleted, scheduled, settings, long := nextOf(bad[0]), nextOf(bad[1]), nextOf(bad[2]), nextOf(bad[3]), nextOf(bad[4]),
		nextOf(bad[5]), nextOf(bad[6]), nextOf(bad[7]), nextOf(bad[8])
	stale.Expected = 7
	broken.Sealed.Nonce = broken.Sealed.Nonce[:23]
	scheduled.Reschedule = true
	text := "new"
	settings.Description = &text
	long.Sealed.Ciphertext = bytes.Repeat([]byte("x"), groupedBytes+1)
	g.sql("app", `DELETE FROM vault.secrets WHERE name = 'bad/01';
		UPDATE vault.secrets SET bound = true WHERE name = 'bad/02';
		SELECT vault.change_versions(s.id, '{1}', 'delete_version', ROW('n', 'a', NULL, NULL, 'r')::vault.audit_origin) FROM vault.secrets s WHERE s.name = 'bad/05';
		CREATE FUNCTION vault.fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE division_by_zero; END $$;
		CREATE TRIGGER fails AFTER INSERT ON vault.changes FOR EACH ROW WHEN (NEW.name = 'bad/04') EXECUTE FUNCTION vault.fails()`)
	for _, v := range []vault.NewVersion{scheduled, settings, long} {
		made, err := g.d.AppendVersion(t.Context(), v, g.author(string(v.Name)))
		groupReply{v, made, err}.isMade(t)
		if g.d.appends.maker(newAppend{v, g.author("x"), "update"}) != nil {
			t.Errorf("a group would make %s", v.Name)
		}
	}
	if got := value[string](g.server, "SELECT description FROM vault.secrets WHERE name = 'bad/07'"); got != text {
		t.Errorf("the description is %q", got)
	}
	members := []vault.NewVersion{stale, gone, bound, deleted}
	for _, s := range secrets {
		members = append(members, nextOf(s))
	}
	t.Run("OKDeclined", func(t *testing.T) {
		var asked []*groupMember[newAppend]
		for _, v := range members[:3] {
			asked = append(asked, &groupMember[newAppend]{newAppend{v, g.author("x"), "update"}})
		}
		stranger := vault.Author{By: vault.Credential{Fingerprint: [32]byte{1}, Addr: g.by.Addr}}
		asked = append(asked, &groupMember[newAppend]{newAppend{nextOf(secrets[0]), stranger, "update"}})
		results, err := g.d.appends.make(t.Context(), asked)
		must(t, err)
		for i, r := range results {
			if r.fate != declined || r.err != nil || r.member != asked[i] {
				t.Errorf("%s: %+v", r.member.of(), r)
			}
		}
		if n := value[int64](g.server, "SELECT count(*) FROM vault.changes WHERE action = 'update' AND name LIKE 'good/%'"); n != 0 || len(results) != 4 {
			t.Errorf("%d results, %d changes", len(results), n)
		}
	})
	t.Run("ErrUnreadable", func(t *testing.T) { // it is made, and what is answered of it cannot be read
		var asked []*groupMember[newAppend]
		for _, s := range g.create("damaged", 2) {
			asked = append(asked, &groupMember[newAppend]{newAppend{nextOf(s), g.author("x"), "update"}})
		}
		g.sql("app", `UPDATE vault.secrets SET generate_policy = '{"length": -1}' WHERE name = 'damaged/00'`)
		results, err := g.d.appends.make(t.Context(), asked)
		must(t, err)
		if len(results) != 2 || results[0].fate != unknown || core.CodeOf(results[0].err) != core.Corrupt || results[1].fate != done || results[1].err != nil {
			t.Errorf("%+v", results)
		}
	})
	wants := map[core.Name]core.Code{
		stale.Name: core.Stale, gone.Name: core.NotFound, bound.Name: core.Invalid, broken.Name: core.Invalid, failing.Name: core.Invalid,
	}
	for _, r := range g.together(append(members, broken, failing)...) {
		alone := only(g.d.AppendVersion(t.Context(), r.v, vault.Author{By: vault.Itself()}))
		if want := wants[r.v.Name]; want == "" {
			r.isMade(t)
			g.wantOnce(r.v)
		} else if core.CodeOf(r.err) != want || core.MessageOf(r.err) != core.MessageOf(alone) {
			t.Errorf("%s: %v, want %s and %v", r.v.Name, r.err, want, alone)
		}
	}
	if n := g.transactions("good"); n > 3 {
		t.Errorf("4 changes took %d transactions", n)
	}
}

// TestGroupDecides: each change of a group is decided about by itself, by what is committed when it is made.
func TestGroupDecides(t *testing.T) {
	g := newGroupDesk(t)
	g.sql("app", "CREATE ROLE app; SELECT vault.grant_access('app', 'app/*', '{update}')")
	app := g.token(g.d, "app", "app", nil)
	revoked := g.token(g.d, "revoked", vault.AdminRole, nil)
	elsewhere := g.by
	elsewhere.Fingerprint[0]++
	may, mayNot, own := nextOf(g.create("app", 1)[0]), nextOf(g.create("other", 1)[0]), nextOf(g.create("own", 1)[0])
	late, odd := nextOf(g.create("late", 1)[0]), nextOf(g.create("odd", 1)[0])
	release := g.hold()
	replies := make([]<-chan groupReply, 0, 5)
	for _, x := range []struct {
		by vault.Credential
		v  vault.NewVersion
	}{{app.Credential, may}, {app.Credential, mayNot}, {g.by, own}, {revoked.Credential, late}, {elsewhere, odd}} {
		replies = append(replies, g.append(t.Context(), x.by, x.v))
	}
	g.awaitWaiting(5)
	_, _, err := g.d.RevokeToken(t.Context(), revoked.id, origin("revoke"))
	must(t, err)
	release()
	for i, want := range []core.Code{"", core.Denied, "", core.Unauthenticated, core.Unauthenticated} {
		if r := <-replies[i]; core.CodeOf(r.err) != want {
			t.Errorf("%s: %v", r.v.Name, r.err)
		}
	}
	if n := value[int64](g.server, "SELECT count(*) FROM vault.audit_log WHERE action = 'update' AND actor = 'token:app' AND secret_name = 'app/00'"); n != 1 {
		t.Errorf("%d records of the caller that may", n)
	}
	if n := value[int64](g.server, "SELECT count(*) FROM vault.changes WHERE action = 'update'"); n != 2 {
		t.Errorf("%d changes", n)
	}
	batch := newAppend{own, vault.Author{By: vault.Credential{Claims: "{}"}}, "update"}
	if d := g.d.appends; d.maker(batch) != nil || d.maker(newAppend{own, vault.Author{By: vault.Itself()}, "update"}) != nil {
		t.Error("a batch token, or the process itself, is decided about in a group")
	}
}

// TestALockedSecretWaitsAlone: a transaction that holds the row of a secret delays the change of that one alone.
func TestALockedSecretWaitsAlone(t *testing.T) {
	g := newGroupDesk(t)
	for name, locks := range map[string]string{
		"secret":  "SELECT FROM vault.secrets WHERE name = 'secret/00' FOR UPDATE",
		"version": "SELECT FROM vault.secret_versions v JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name = 'version/00' FOR UPDATE OF v",
	} {
		var versions []vault.NewVersion
		for _, s := range g.create(name, 5) {
			versions = append(versions, nextOf(s))
		}
		c := g.connect("app")
		tx, err := c.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), locks)
		must(t, err)
		release := g.hold()
		replies := g.append(t.Context(), g.by, versions...)
		g.awaitWaiting(len(versions))
		release()
		for range versions[1:] {
			r := <-replies
			r.isMade(t)
			g.wantOnce(r.v)
			if r.v.Name == versions[0].Name {
				t.Errorf("%s was changed under the lock", r.v.Name)
			}
		}
		g.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%append_version%'")
		if n := g.transactions(name); n != 1 {
			t.Errorf("%s: %d transactions", name, n)
		}
		must(t, tx.Rollback(t.Context()))
		r := <-replies
		r.isMade(t)
		g.wantOnce(r.v)
		must(t, c.Close(t.Context()))
	}
}

// TestALockedTableEndsTheGroup: a lock of a table delays each change as it does alone, and the group holds no row meanwhile.
func TestALockedTableEndsTheGroup(t *testing.T) {
	g := newGroupDesk(t)
	var versions []vault.NewVersion
	for _, s := range g.create("table", 3) {
		versions = append(versions, nextOf(s))
	}
	c := g.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	tx, err := c.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE vault.secret_versions IN SHARE MODE")
	must(t, err)
	sent := countSent(g.d.appends)
	release := g.hold()
	replies := g.append(t.Context(), g.by, versions...)
	g.awaitWaiting(len(versions))
	release()
	g.until("SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%append_version%'")
	must(t, tx.Commit(t.Context()))
	for range versions {
		r := <-replies
		r.isMade(t)
		g.wantOnce(r.v)
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("changes were sent together %d times", n)
	}
}

// sleeper is a trigger that sleeps in the change of one secret while a table has a row.
const sleeper = `CREATE TABLE public.sleeps AS SELECT 1 AS n; GRANT SELECT ON public.sleeps TO PUBLIC;
	CREATE FUNCTION vault.sleeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT FROM public.sleeps) THEN PERFORM pg_catalog.pg_sleep(20); END IF; RETURN NEW; END $$;
	CREATE TRIGGER sleeps AFTER INSERT ON vault.changes FOR EACH ROW WHEN (NEW.name LIKE '%/02' AND NEW.action = 'update') EXECUTE FUNCTION vault.sleeps()`

// TestASlowGroupHoldsUpNoOther: changes that come while a group is stuck are made in another one.
func TestASlowGroupHoldsUpNoOther(t *testing.T) {
	g := newGroupDesk(t)
	stuck, others := g.create("stuck", 4), g.create("others", 4)
	g.sql("app", sleeper)
	var late []vault.NewVersion
	for i, s := range others {
		if i != 2 { // which the trigger has sleep
			late = append(late, nextOf(s))
		}
	}
	release := g.hold()
	slow := g.append(t.Context(), g.by, nextOf(stuck[0]), nextOf(stuck[1]), nextOf(stuck[2]), nextOf(stuck[3]))
	g.awaitWaiting(4)
	release()
	g.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	replies := g.append(t.Context(), g.by, late...)
	for range late {
		(<-replies).isMade(t)
	}
	// One of the members leaves: what was sent goes on.
	pid := value[int32](g.server, "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	g.sql("app", "DELETE FROM public.sleeps")
	g.sql("app", fmt.Sprintf("SELECT pg_cancel_backend(%d)", pid)) // nothing was done: each goes alone, or in a half
	for range 4 {
		r := <-slow
		r.isMade(t)
		g.wantOnce(r.v)
	}
}

// TestKilledGroup: a backend that is killed in the middle of a group, and then the server, lose no change and make none twice.
func TestKilledGroup(t *testing.T) {
	g := newGroupDesk(t)
	var versions []vault.NewVersion
	for _, s := range g.create("killed", 6) {
		versions = append(versions, nextOf(s))
	}
	g.sql("app", sleeper)
	release := g.hold()
	replies := g.append(t.Context(), g.by, versions...)
	g.awaitWaiting(len(versions))
	release()
	g.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
	g.sql("app", "DELETE FROM public.sleeps")
	g.stop() // as kill -9 of all of it
	g.restart()
	for range versions {
		r := <-replies
		r.isMade(t)
		g.wantOnce(r.v)
	}
}

// TestLostAnswersOfGroups: an answer or a request that is lost was that of all, and each change is made once.
func TestLostAnswersOfGroups(t *testing.T) {
	s := newServer(t)
	cut := s.cutter()
	g := &groupDesk{server: s, d: s.open(cut.host())}
	g.by = s.token(g.d, "writer", vault.AdminRole, nil).Credential
	for name, mode := range map[string]cutMode{"request": beforeServer, "answer": afterServer} {
		var versions []vault.NewVersion
		for _, s := range g.create(name, 6) {
			versions = append(versions, nextOf(s))
		}
		cut.lose([]byte(name+"/03"), mode, 1)
		for _, r := range g.together(versions...) {
			r.isMade(t)
			g.wantOnce(r.v)
		}
		if cut.left() != 0 {
			t.Error("nothing was lost")
		}
		if n := g.transactions(name); mode == afterServer && n != 1 {
			t.Errorf("%d transactions", n)
		}
	}
}

// TestWarnedGroup: a warning puts all of a group in doubt, and each change is looked for.
func TestWarnedGroup(t *testing.T) {
	g := newGroupDesk(t)
	secrets := g.create("warned", 3)
	g.sql("app", `CREATE FUNCTION vault.warns() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'x'; RETURN NEW; END $$;
		CREATE TRIGGER warns AFTER INSERT ON vault.changes FOR EACH ROW WHEN (NEW.name = 'warned/01') EXECUTE FUNCTION vault.warns()`)
	for _, r := range g.together(nextOf(secrets[0]), nextOf(secrets[1]), nextOf(secrets[2])) {
		r.isMade(t)
		g.wantOnce(r.v)
	}
}

// TestGroupOutlivesItsClients: a client that goes away cancels nothing, whether its change waits or is on its way.
func TestGroupOutlivesItsClients(t *testing.T) {
	g := newGroupDesk(t)
	secrets := g.create("left", 3)
	ctx, leave := context.WithCancel(t.Context())
	release := g.hold()
	replies := g.append(ctx, g.by, nextOf(secrets[0]), nextOf(secrets[1]))
	g.awaitWaiting(2)
	leave()
	release()
	for range 2 {
		r := <-replies
		r.isMade(t)
		g.wantOnce(r.v)
	}
}

// TestGroupPatience: a change whose group does not begin is sent alone.
func TestGroupPatience(t *testing.T) {
	g := newGroupDesk(t)
	secrets := g.create("patient", 1)
	patience := g.d.appends.patience
	release := g.hold()
	defer release()
	g.d.appends.patience = patience
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	if _, _, f, err := g.d.appends.maker(newAppend{nextOf(secrets[0]), g.author("x"), "update"})(ctx); f != declined || err != nil {
		t.Errorf("fate %d, %v", f, err) // one that is unknown would end the connections of others
	}
	r := <-g.append(ctx, g.by, nextOf(secrets[0]))
	r.isMade(t)
	g.wantOnce(r.v)
	g.d.appends.mu.Lock()
	defer g.d.appends.mu.Unlock()
	if len(g.d.appends.waiting) != 0 {
		t.Error("it still waits for the group")
	}
}

// TestGroupsNeedTheirFunction: with a schema that does not have it, changes are made alone.
func TestGroupsNeedTheirFunction(t *testing.T) {
	g := newGroupDesk(t)
	secrets := g.create("older", 3)
	g.sql("app", "ALTER EXTENSION hyperion_vault DROP FUNCTION vault.append_if_free; ALTER FUNCTION vault.append_if_free RENAME TO other")
	for _, r := range g.together(nextOf(secrets[0]), nextOf(secrets[1])) {
		r.isMade(t)
		g.wantOnce(r.v)
	}
	g.sql("app", "REVOKE EXECUTE ON FUNCTION vault.other FROM vault_service; ALTER FUNCTION vault.other RENAME TO append_if_free")
	r := <-g.append(t.Context(), g.by, nextOf(secrets[2]))
	r.isMade(t)
	g.wantOnce(r.v)
}

// TestTwoChangesOfOneSecret: of two changes that expect the same version one is made, in whatever groups they are.
func TestTwoChangesOfOneSecret(t *testing.T) {
	g := newGroupDesk(t)
	secrets := g.create("twice", 3)
	for _, s := range secrets {
		var made, stale int
		for _, r := range g.together(nextOf(s), nextOf(s)) {
			switch {
			case r.err == nil && r.made.CurrentVersion == 2:
				made++
			case core.CodeOf(r.err) == core.Stale:
				stale++
			default:
				t.Errorf("%s: %+v, %v", s.Name, r.made, r.err)
			}
		}
		if made != 1 || stale != 1 {
			t.Errorf("%s: %d made, %d stale", s.Name, made, stale)
		}
	}
}

// TestRacingGroups: clients that change the same secrets again and again make each version once.
func TestRacingGroups(t *testing.T) {
	g := newGroupDesk(t)
	const clients, each = 16, 12
	secrets := g.create("raced", 6)
	var acknowledged [6]map[uint64]int
	var mu sync.Mutex
	for i := range acknowledged {
		acknowledged[i] = map[uint64]int{}
	}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for n := range each {
				i := (c + n) % len(secrets)
				s, _, err := g.d.DescribeSecretOnWriter(t.Context(), g.by, vault.ActionUpdate, secrets[i].Name)
				if err != nil {
					t.Error(err)
					return
				}
				v := nextOf(secrets[i])
				v.Expected = s.CurrentVersion
				made, err := g.d.AppendVersion(t.Context(), v, g.author("race"))
				if core.CodeOf(err) == core.Stale {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged[i][made.CurrentVersion]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i, s := range secrets {
		current := value[int64](g.server, "SELECT current_version FROM vault.secrets WHERE name = $1", string(s.Name))
		records := value[int64](g.server, "SELECT count(DISTINCT version) FROM vault.audit_log WHERE secret_name = $1", string(s.Name))
		if int64(len(acknowledged[i])) != current-1 || records != current {
			t.Errorf("%s is at version %d, %d were acknowledged, %d recorded", s.Name, current, len(acknowledged[i]), records)
		}
		for v, n := range acknowledged[i] {
			if n != 1 {
				t.Errorf("version %d of %s was acknowledged %d times", v, s.Name, n)
			}
		}
	}
}
