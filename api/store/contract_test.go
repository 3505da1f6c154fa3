package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestContract holds the fake store, on which the tests of the door and of REST stand, to what PostgreSQL does: the
// same calls get the same answers from both, to the text of the errors.
func TestContract(t *testing.T) {
	clearEnvironment(t)
	keeping := pgtest.Options{Database: "app", Settings: []string{"max_connections = 50", "hyperion_vault.deleted_retention_days = 1"}}
	real := transcript(t, serverOf(t, pgtest.NewCluster(t, keeping)).open())
	if len(real) < 40 {
		t.Fatalf("%d answers: the calls are not made", len(real))
	}
	bin := &doortest.Store{Recorder: &doortest.Recorder{}, Now: time.Now}
	bin.Retain(24 * time.Hour)
	fake := transcript(t, bin)
	if diff := cmp.Diff(real, fake); diff != "" {
		t.Errorf("the fake store (+) does not answer as PostgreSQL (-) does:\n%s", diff)
	}
}

// script makes calls of a store, and writes down what is the same for each implementation.
type script struct {
	ctx   context.Context
	store vault.Store
	lines []string
}

// note writes down an answer, or the error in its place.
func (s *script) note(what string, err error, answer ...any) {
	line := fmt.Sprintf("%s: %v", what, answer)
	if err != nil {
		line = fmt.Sprintf("%s: %s, %s", what, core.CodeOf(err), core.MessageOf(err))
	}
	s.lines = append(s.lines, line)
}

// transcript is what a store answers to a life of two secrets.
func transcript(t *testing.T, store vault.Store) []string {
	t.Helper()
	s := &script{ctx: t.Context(), store: store}
	a, b := newSecret("contract/a"), newSecret("contract/b")
	b.Kind, b.RotationIntervalSecs = core.Automatic, 3600
	s.create("create a", a)
	s.create("create a again", a)
	s.create("create b", b)
	s.reads(a.Name)
	s.changes(a)
	s.reads(a.Name)
	s.lists()
	s.settings(a, b)
	s.expiries(a)
	s.reads(a.Name)
	s.deletions(a)
	s.reads(a.Name)
	s.rebirth(a)
	s.metadata(newSecret("contract/kv"))
	s.versions(newSecret("contract/versions"))
	s.deletedSecrets(newSecret("contract/deleted"))
	s.feed()
	return s.lines
}

func (s *script) secret(what string, x vault.Secret, err error) {
	s.note(what, err, x.Name, x.Kind, x.ContentType, x.Description, x.Tags, x.FirstVersion, x.CurrentVersion, x.HasVersion(), x.CASRequired, x.DeleteVersionAfterSecs, x.SettingsRevision,
		x.RotationIntervalSecs, x.GracePeriodSecs, "planned", !x.NextRotationAt.IsZero(), "placed", x.Position.LSN > 0)
}

func (s *script) create(what string, n vault.NewSecret) {
	x, err := s.store.CreateSecret(s.ctx, n, origin(what))
	s.secret(what, x, err)
}

// values writes down rows without what is random in them.
func (s *script) values(what string, rows []vault.StoredValue, err error) {
	s.note(what, err, len(rows))
	for _, r := range rows {
		s.note(what, nil, r.Name, r.Version, r.CurrentVersion, r.ContentType, "ends", !r.ExpiresAt.IsZero(), len(r.Sealed.Ciphertext))
	}
}

// reads asks for a secret in every way.
func (s *script) reads(name core.Name) {
	for _, version := range []uint64{0, 1, 2, 9} {
		rows, _, err := s.store.ReadSealed(s.ctx, anonymous, name, version, vault.Freshness{})
		s.values(fmt.Sprintf("read version %d", version), rows, err)
	}
	rows, _, err := s.store.ReadVerifiable(s.ctx, anonymous, name, vault.Freshness{})
	s.values("what verifies", rows, err)
	x, _, err := s.store.DescribeSecret(s.ctx, vault.Itself(), name, vault.Freshness{})
	s.secret("describe", x, err)
	versions, _, err := s.store.DescribeVersions(s.ctx, vault.Itself(), name, vault.Freshness{})
	s.note("versions", err, len(versions))
	for _, v := range versions {
		s.note("version", nil, v.Version, v.KMSKeyID, "ends", !v.ExpiresAt.IsZero(), "deleted", !v.DeletedAt.IsZero(),
			"destroyed", !v.DestroyedAt.IsZero(), "due", !v.DeleteAt.IsZero())
	}
	each, _, err := s.store.ReadEach(s.ctx, anonymous, []core.Name{name}, 1<<20, vault.Freshness{})
	s.note("read among others", err, len(each))
	for _, r := range each {
		s.values("one of others", nil, r.Err)
	}
	none, _, err := s.store.ReadSealed(s.ctx, anonymous, "contract/none", 0, vault.Freshness{})
	s.values("read an unknown name", none, err)
}

// changes replaces a version, and tries to replace it again.
func (s *script) changes(a vault.NewSecret) {
	text := "another"
	change := vault.NewVersion{ID: a.ID, Name: a.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate, Description: &text}
	for _, what := range []string{"update", "update of a version that was replaced"} {
		x, err := s.store.AppendVersion(s.ctx, change, origin(what))
		s.secret(what, x, err)
	}
	change.ID = newSecret("x").ID
	x, err := s.store.AppendVersion(s.ctx, change, origin("none"))
	s.secret("update of an unknown secret", x, err)
}

func (s *script) lists() {
	for _, page := range []struct {
		prefix, after string
		limit         int
	}{{"contract/", "", 10}, {"contract/", "contract/a", 10}, {"", "", 1}, {"other/", "", 10}} {
		rows, _, err := s.store.DescribeSecrets(s.ctx, vault.Itself(), page.prefix, page.after, page.limit, vault.Freshness{})
		s.note(fmt.Sprintf("list %v", page), err, len(rows))
		for _, r := range rows {
			s.secret("listed", r.Secret, r.Err)
		}
	}
}

func (s *script) settings(a, b vault.NewSecret) {
	text, interval := "described", int64(7200)
	for _, c := range []struct {
		what   string
		change vault.Configuration
	}{
		{"describe it again", vault.Configuration{ID: a.ID, Name: a.Name, Expected: 2, Settings: vault.Settings{Description: &text}}},
		{"settings of an old version", vault.Configuration{ID: a.ID, Name: a.Name, Expected: 1, Settings: vault.Settings{Description: &text}}},
		{"settings of an old revision", vault.Configuration{ID: a.ID, Name: a.Name, Expected: 2, Revision: 1, Settings: vault.Settings{Description: &text}}},
		{"another interval", vault.Configuration{ID: b.ID, Name: b.Name, Expected: 1, Settings: vault.Settings{RotationIntervalSecs: &interval}}},
	} {
		x, err := s.store.ConfigureSecret(s.ctx, c.change, origin(c.what))
		s.secret(c.what, x, err)
	}
}

func (s *script) expiries(a vault.NewSecret) {
	for _, version := range []uint64{1, 1, 2, 9} {
		v, err := s.store.ExpireVersion(s.ctx, vault.Expiry{ID: a.ID, Name: a.Name, Version: version}, origin("expire"))
		s.note(fmt.Sprintf("expire version %d", version), err, v.Version, "ends", !v.ExpiresAt.IsZero())
	}
}

func (s *script) deletions(a vault.NewSecret) {
	for _, expected := range []uint64{1, 2, 2} {
		at, err := s.store.DeleteSecret(s.ctx, vault.Deletion{ID: a.ID, Name: a.Name, Expected: expected}, origin("delete"))
		s.note(fmt.Sprintf("delete version %d", expected), err, "placed", at.LSN > 0)
	}
}

// rebirth creates a secret of a name that was deleted: no version number comes twice.
func (s *script) rebirth(a vault.NewSecret) {
	for _, name := range []core.Name{a.Name, "contract/b", "contract/none"} {
		first, err := s.store.FirstVersion(s.ctx, name)
		s.note("first version of "+string(name), err, first)
	}
	again := newSecret(string(a.Name))
	s.create("create with a version that was used", again)
	again.Version = 3
	s.create("create with the next version", again)
}

// metadata makes secrets without a version, also of a name that had versions, and gives them one.
func (s *script) metadata(n vault.NewSecret) {
	n.Sealed, n.CASRequired, n.DeleteVersionAfterSecs, n.Rotation.KeepVersions = vault.SealedValue{}, true, 3600, 3
	for i := range 3 {
		n.ID = newSecret("x").ID
		x, err := s.store.CreateMetadata(s.ctx, n, origin("metadata"))
		s.secret(fmt.Sprintf("metadata %d", i), x, err)
		s.secret("metadata again", vault.Secret{}, only(s.store.CreateMetadata(s.ctx, n, origin("again"))))
		s.reads(n.Name)
		change := vault.NewVersion{ID: n.ID, Name: n.Name, Expected: x.CurrentVersion, Sealed: sealedValue(), Action: vault.ActionUpdate}
		if i != 1 {
			made, err := s.store.AppendVersion(s.ctx, change, origin("first"))
			s.note("the first version", err, made.CurrentVersion)
			s.reads(n.Name)
			change.Expected++
		}
		at, err := s.store.DeleteSecret(s.ctx, vault.Deletion{ID: n.ID, Name: n.Name, Expected: change.Expected}, origin("delete"))
		s.note("delete it", err, "placed", at.LSN > 0)
	}
}

// versions deletes, undeletes and destroys versions.
func (s *script) versions(n vault.NewSecret) {
	n.Rotation.KeepVersions = 2
	s.create("create with versions to keep", n)
	for expected := uint64(1); expected < 4; expected++ {
		change := vault.NewVersion{ID: n.ID, Name: n.Name, Expected: expected, Sealed: sealedValue(), Action: vault.ActionUpdate}
		s.note("update", only(s.store.AppendVersion(s.ctx, change, origin("update"))))
	}
	steps := []vault.VersionsChange{
		{Action: vault.ActionDeleteVersion, Versions: []uint64{3, 2, 3, 99}},
		{Action: vault.ActionDeleteVersion},
		{Action: vault.ActionDeleteVersion},
		{Action: vault.ActionUndeleteVersion, Versions: []uint64{2, 4}},
		{Action: vault.ActionDestroyVersion, Versions: []uint64{3, 4, 99}},
		{Action: vault.ActionDestroyVersion, Versions: []uint64{3, 4}},
		{Action: vault.ActionUndeleteVersion, Versions: []uint64{1, 2, 3, 4}},
	}
	for _, x := range steps {
		x.ID, x.Name = n.ID, n.Name
		out, err := s.store.ChangeVersions(s.ctx, x, origin("versions"))
		s.note(fmt.Sprint(x.Action, x.Versions), err, out.Versions, "placed", out.Position.LSN > 0)
		s.reads(n.Name)
	}
	_, err := s.store.ChangeVersions(s.ctx, vault.VersionsChange{ID: newSecret("x").ID, Name: "contract/none", Action: vault.ActionDeleteVersion}, origin("none"))
	s.note("versions of an unknown secret", err)
}

// deletedSecrets deletes a secret, restores it, and uses its name again.
func (s *script) deletedSecrets(n vault.NewSecret) {
	n.Rotation.KeepVersions = 2
	s.create("create what is deleted", n)
	change := vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}
	s.note("update", only(s.store.AppendVersion(s.ctx, change, origin("update"))))
	gone := vault.VersionsChange{ID: n.ID, Name: n.Name, Action: vault.ActionDeleteVersion, Versions: []uint64{1}}
	s.note("delete a version", only(s.store.ChangeVersions(s.ctx, gone, origin("versions"))))
	for range 2 {
		s.remove(n, 2, false)
		s.bin(n)
		x, err := s.store.RestoreSecret(s.ctx, n.ID, n.Name, origin("restore"))
		s.secret("restore it", x, err)
		s.reads(n.Name)
	}
	s.remove(n, 2, false)
	later := newSecret(string(n.Name))
	later.Version = 3
	s.create("create another of its name", later)
	s.secret("restore it beside that", vault.Secret{}, only(s.store.RestoreSecret(s.ctx, n.ID, n.Name, origin("restore"))))
	s.remove(later, 3, true)
	s.bin(later)
	s.secret("restore it after that", vault.Secret{}, only(s.store.RestoreSecret(s.ctx, n.ID, n.Name, origin("restore"))))
	for range 2 {
		at, err := s.store.DestroyDeleted(s.ctx, n.ID, n.Name, origin("destroy"))
		s.note("destroy what is left", err, "placed", at.LSN > 0)
		s.bin(n)
	}
}

func (s *script) remove(n vault.NewSecret, expected uint64, destroy bool) {
	x := vault.Deletion{ID: n.ID, Name: n.Name, Expected: expected, Destroy: destroy}
	at, err := s.store.DeleteSecret(s.ctx, x, origin("delete"))
	s.note(fmt.Sprintf("delete it, destroy %t", destroy), err, "placed", at.LSN > 0)
}

// bin asks for what was deleted.
func (s *script) bin(n vault.NewSecret) {
	all, _, err := s.store.ListDeleted(s.ctx, vault.Itself(), string(n.Name), vault.DeletedCursor{}, 10, vault.Freshness{})
	s.note("deleted secrets", err, len(all))
	for _, d := range all {
		s.note("deleted", nil, d.Name, d.Kind, d.ContentType, d.Description, d.CurrentVersion, d.RestorableUntil.After(d.DeletedAt))
	}
	for _, d := range all {
		later, _, err := s.store.ListDeleted(s.ctx, vault.Itself(), string(n.Name), vault.DeletedCursor{Until: d.RestorableUntil, ID: d.ID}, 10, vault.Freshness{})
		s.note("after it", err, len(later))
	}
	name, err := s.store.DeletedName(s.ctx, n.ID)
	s.note("its name", err, name)
}

func (s *script) feed() {
	page, _, err := s.store.ChangesSince(s.ctx, vault.Itself(), vault.Place{}, 100)
	s.note("changes", err, len(page.Changes))
	for _, c := range page.Changes {
		s.note("change", nil, c.Action, c.Name, c.Version)
	}
}
