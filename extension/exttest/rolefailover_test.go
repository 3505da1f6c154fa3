package exttest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// rotating rotates secrets as fast as it can on a server until that is killed. acknowledged is how many rotations of each secret
// were answered.
type rotating struct {
	done         sync.WaitGroup
	acknowledged [2]atomic.Int64
}

func (b boundBench) rotate(t *testing.T, secrets [2]string) *rotating {
	t.Helper()
	r := &rotating{}
	for i, name := range secrets {
		s := b.c.connect(t, b.db, "postgres")
		r.done.Go(func() {
			for s.try("SELECT vault.rotate_secret($1)", name) == nil {
				r.acknowledged[i].Add(1)
			}
		})
	}
	return r
}

// node is the standby, as a bench.
func (b boundBench) standby(t *testing.T) boundBench {
	t.Helper()
	addr := fmt.Sprintf("127.251.%d.%d", rand.IntN(250), 1+rand.IntN(250))
	c := cluster{b.c.NewStandby(t, "listen_addresses = '"+addr+"'")}
	inner := *b.bench
	inner.c = c
	inner.session = c.connect(t, b.db, "postgres")
	return boundBench{&inner, loginCluster{c, addr}}
}

// credential is the user and the password in a secret of JSON.
func (b boundBench) credential(t *testing.T, name string) (user, password string) {
	t.Helper()
	var v struct{ Username, Password string }
	pgtest.Must(t, json.Unmarshal([]byte(b.read(name)), &v))
	return v.Username, v.Password
}

// TestFailoverKeepsSecretAndPasswordTogether kills the primary while it rotates a role and a pair, and promotes its standby, three times:
// with a standby that is synchronous, with one that is not, and again with a synchronous one. Each time the roles log in on the
// new primary with what the vault there holds.
func TestFailoverKeepsSecretAndPasswordTogether(t *testing.T) {
	t.Parallel()
	b := newBoundBench(t, "restart_after_crash = off")
	b.exec("CREATE ROLE app LOGIN")
	b.exec("CREATE ROLE app_a LOGIN")
	b.exec("CREATE ROLE app_b LOGIN")
	b.exec("SELECT vault.create_secret('app', 'first value', 'automatic', rotation_interval_secs => 86400)")
	b.exec("SELECT vault.bind_role('app', 'app')")
	b.exec(`SELECT vault.create_secret('pair', '{"username":"app_a","password":"first of pair"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => 86400)`)
	b.exec("SELECT vault.bind_role_pair('pair', 'app_a', 'app_b')")
	secrets := [2]string{"app", "pair"}
	for _, synchronous := range []bool{true, false, true} {
		next := b.standby(t)
		if synchronous {
			b.c.MustSet(t, "synchronous_standby_names = '*'")
			b.c.MustBecome(t, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')")
		}
		var before [2]int64
		for i, name := range secrets {
			before[i] = get[int64](b.session, "SELECT current_version FROM vault.list_secrets() WHERE name = $1", name)
		}
		r := b.rotate(t, secrets)
		pgtest.Eventually(t, "both are rotated", func() bool { return r.acknowledged[0].Load() > 20 && r.acknowledged[1].Load() > 20 })
		b.c.MustStop(t, syscall.SIGKILL)
		r.done.Wait()
		next.c.MustPromote(t)
		next.c.MustSet(t, "synchronous_standby_names = ''")
		next.session = next.c.connect(t, b.db, "postgres")
		for i, name := range secrets {
			at, least := get[int64](next.session, "SELECT current_version FROM vault.list_secrets() WHERE name = $1", name), before[i]+r.acknowledged[i].Load()
			if synchronous && at < least {
				t.Errorf("%s is at version %d, and version %d was acknowledged", name, at, least)
			}
			t.Logf("%s: version %d of %d that were acknowledged", name, at, least)
		}
		next.wantBoth(t)
		for _, name := range secrets {
			next.exec("SELECT vault.rotate_secret($1)", name)
		}
		next.wantBoth(t)
		b = next
	}
}

// wantBoth checks the logins of the role and of the pair: by both implementations of SCRAM, with what the vault holds and no other
// password.
func (b boundBench) wantBoth(t *testing.T) {
	t.Helper()
	if differing := get[int](b.session, "SELECT count(*)::int FROM vault.bound_roles() WHERE state <> 'ok'"); differing != 0 {
		t.Errorf("%d roles differ from the vault", differing)
	}
	user, password := b.credential(t, "pair")
	for role, password := range map[string]string{"app": b.read("app"), user: password} {
		pgtest.Must(t, b.login.login(role, password))
		pgtest.Must(t, b.login.psqlLogin(t, role, password))
		wantError(t, b.login.login(role, password+"x"), "28P01", "password authentication failed")
	}
}

// TestPairOnAStandbyThatFallsBehind: of a pair a standby lets in whom it holds: the next role only once that is replayed, and the
// former one until its grace ends there as well. What the standby has replayed is still true when it becomes the primary.
func TestPairOnAStandbyThatFallsBehind(t *testing.T) {
	t.Parallel()
	b := newBoundBench(t)
	b.exec("CREATE ROLE app_a LOGIN")
	b.exec("CREATE ROLE app_b LOGIN")
	b.exec(`SELECT vault.create_secret('pair', '{"username":"app_a","password":"first of pair"}'::text, content_type => 'application/json',
		generate_policy => '{"json_field":"password"}', grace_period_secs => 86400)`)
	b.exec("SELECT vault.bind_role_pair('pair', 'app_a', 'app_b')")
	s := b.standby(t)
	s.c.MustCatchUp(t)
	wants := func(in boundBench, user, password string, allowed bool) {
		t.Helper()
		err := in.login.login(user, password)
		if allowed {
			pgtest.Must(t, err)
		} else {
			wantError(t, err, "28P01", "password authentication failed")
		}
	}
	pause := func() {
		s.exec("SELECT pg_wal_replay_pause()")
		pgtest.Eventually(t, "replay has paused", func() bool { return get[string](s.session, "SELECT pg_get_wal_replay_pause_state()") == "paused" })
	}
	follow := func() {
		s.exec("SELECT pg_wal_replay_resume()")
		s.c.MustCatchUp(t)
	}
	pause()
	b.exec("SELECT vault.rotate_secret('pair')")
	user, second := b.credential(t, "pair")
	wants(b, user, second, true)
	wants(s, user, second, false)
	if _, held := s.credential(t, "pair"); held != "first of pair" {
		t.Error("the standby holds what it has not replayed")
	}
	wants(s, "app_a", "first of pair", true)
	follow()
	wants(s, user, second, true)
	wants(s, "app_a", "first of pair", true)
	pause()
	b.exec("SELECT vault.expire_version('pair', 1)")
	wants(b, "app_a", "first of pair", false)
	wants(s, "app_a", "first of pair", true)
	follow()
	wants(s, "app_a", "first of pair", false)
	pause()
	b.exec("SELECT vault.rotate_secret('pair')")
	_, third := b.credential(t, "pair")
	wants(b, "app_a", third, true)
	wants(s, "app_a", third, false)
	wants(s, "app_a", "first of pair", false)
	// The standby has received the rotation, and replays it before it is promoted.
	received := get[string](b.session, "SELECT pg_current_wal_flush_lsn()::text")
	pgtest.Eventually(t, "the standby has received it", func() bool {
		return get[bool](s.session, "SELECT pg_last_wal_receive_lsn() >= $1::text::pg_lsn", received)
	})
	b.c.MustStop(t, syscall.SIGKILL)
	s.c.MustPromote(t)
	s.session = s.c.connect(t, b.db, "postgres")
	wants(s, "app_a", third, true)
	wants(s, user, second, true)
	if now, password := s.credential(t, "pair"); now != "app_a" || password != third {
		t.Error("the vault of the new primary holds another credential")
	}
	_ = s.Close(context.Background())
}
