package clienttest

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
)

func newVaultClient(t *testing.T, s *site) *api.Client {
	t.Helper()
	c := api.DefaultConfig()
	ok(t, c.Error)
	c.Address, c.MaxRetries = s.URL, 0
	client, err := api.NewClient(c)
	ok(t, err)
	client.SetToken(s.AdminToken)
	return client
}

func login(t *testing.T, s *site, client *api.Client) *api.Secret {
	t.Helper()
	auth, err := approle.NewAppRoleAuth(s.roleID, &approle.SecretID{FromString: s.secretID})
	ok(t, err)
	secret, err := client.Auth().Login(t.Context(), auth)
	ok(t, err)
	return secret
}

func TestVaultKV(t *testing.T) {
	s := newSite(t)
	client := newVaultClient(t, s)
	secret := login(t, s, client)
	if secret.Auth.Metadata["role_name"] != "app" || !secret.Auth.Renewable {
		t.Fatalf("%+v", secret.Auth)
	}
	ctx, kv := t.Context(), client.KVv2("secret")
	if _, err := kv.Get(ctx, "app/db"); !errors.Is(err, api.ErrSecretNotFound) {
		t.Fatalf("none: %v", err)
	}
	made, err := kv.Put(ctx, "app/db", map[string]any{"user": "u", "password": "p"}, api.WithCheckAndSet(0))
	ok(t, err)
	if made.VersionMetadata.Version != 1 || made.VersionMetadata.CreatedTime.IsZero() {
		t.Fatalf("%+v", made.VersionMetadata)
	}
	if _, err := kv.Put(ctx, "app/db", map[string]any{}, api.WithCheckAndSet(0)); !mentions(err, 400, "check-and-set parameter did not match the current version") {
		t.Fatalf("check-and-set: %v", err)
	}
	patched, err := kv.Patch(ctx, "app/db", map[string]any{"password": "q", "user": nil})
	ok(t, err)
	if patched.VersionMetadata.Version != 2 {
		t.Fatalf("%+v", patched.VersionMetadata)
	}
	_, err = kv.Patch(ctx, "app/db", map[string]any{"more": "m"}, api.WithMergeMethod(api.KVMergeMethodReadWrite))
	ok(t, err)
	got, err := kv.Get(ctx, "app/db")
	ok(t, err)
	if got.Data["password"] != "q" || got.Data["more"] != "m" || got.Data["user"] != nil || got.VersionMetadata.Version != 3 {
		t.Fatalf("%+v", got)
	}
	old, err := kv.GetVersion(ctx, "app/db", 1)
	ok(t, err)
	if old.Data["user"] != "u" {
		t.Fatalf("%+v", old)
	}
	testVersions(t, kv)
	testMetadata(t, kv)
	list, err := client.Logical().List("secret/metadata/app")
	ok(t, err)
	if keys := list.Data["keys"].([]any); len(keys) != 2 || keys[0] != "db" {
		t.Fatalf("%v", keys)
	}
	ok(t, kv.DeleteMetadata(ctx, "app/db"))
	if _, err := kv.Get(ctx, "other/db"); !mentions(err, 403, "permission denied") {
		t.Fatalf("without the right: %v", err)
	}
}

func testVersions(t *testing.T, kv *api.KVv2) {
	t.Helper()
	ctx := t.Context()
	ok(t, kv.Delete(ctx, "app/db"))
	gone, err := kv.Get(ctx, "app/db")
	ok(t, err)
	if gone.Data != nil || gone.VersionMetadata.DeletionTime.IsZero() {
		t.Fatalf("deleted: %+v %+v", gone, gone.VersionMetadata)
	}
	ok(t, kv.Undelete(ctx, "app/db", []int{3}))
	ok(t, kv.DeleteVersions(ctx, "app/db", []int{2}))
	ok(t, kv.Destroy(ctx, "app/db", []int{1}))
	gone, err = kv.GetVersion(ctx, "app/db", 1)
	ok(t, err)
	if gone.Data != nil || !gone.VersionMetadata.Destroyed {
		t.Fatalf("destroyed: %+v", gone.VersionMetadata)
	}
	rolled, err := kv.Rollback(ctx, "app/db", 3)
	ok(t, err)
	if rolled.VersionMetadata.Version != 4 {
		t.Fatalf("%+v", rolled.VersionMetadata)
	}
	all, err := kv.GetVersionsAsList(ctx, "app/db")
	ok(t, err)
	if len(all) != 4 || !all[0].Destroyed || all[1].DeletionTime.IsZero() {
		t.Fatalf("%+v", all)
	}
}

func testMetadata(t *testing.T, kv *api.KVv2) {
	t.Helper()
	ctx := t.Context()
	ok(t, kv.PutMetadata(ctx, "app/first", api.KVMetadataPutInput{
		CustomMetadata: map[string]any{"owner": "team"}, MaxVersions: 7, CASRequired: true, DeleteVersionAfter: 24 * time.Hour,
	}))
	m, err := kv.GetMetadata(ctx, "app/first")
	ok(t, err)
	if m.MaxVersions != 7 || !m.CASRequired || m.DeleteVersionAfter != 24*time.Hour || m.CustomMetadata["owner"] != "team" || m.CurrentVersion != 0 {
		t.Fatalf("%+v", m)
	}
	if _, err := kv.Put(ctx, "app/first", map[string]any{}); !mentions(err, 400, "check-and-set parameter required for this call") {
		t.Fatalf("cas_required: %v", err)
	}
	made, err := kv.Put(ctx, "app/first", map[string]any{"k": "v"}, api.WithCheckAndSet(0))
	ok(t, err)
	if made.VersionMetadata.DeletionTime.Before(time.Now().Add(23 * time.Hour)) {
		t.Fatalf("%+v", made.VersionMetadata)
	}
	got, err := kv.Get(ctx, "app/first")
	ok(t, err)
	if got.CustomMetadata["owner"] != "team" {
		t.Fatalf("%+v", got.VersionMetadata)
	}
	ok(t, kv.PatchMetadata(ctx, "app/first", api.KVMetadataPatchInput{CustomMetadata: map[string]any{"owner": nil, "x": "y"}}))
	m, err = kv.GetMetadata(ctx, "app/first")
	ok(t, err)
	if len(m.CustomMetadata) != 1 || m.CustomMetadata["x"] != "y" || m.MaxVersions != 7 {
		t.Fatalf("%+v", m)
	}
}

// mentions reports whether an error is an answer with a status and a text.
func mentions(err error, status int, text string) bool {
	var e *api.ResponseError
	return errors.As(err, &e) && e.StatusCode == status && strings.Contains(strings.Join(e.Errors, "\n"), text)
}

func TestVaultSystem(t *testing.T) {
	s := newSite(t)
	client := newVaultClient(t, s)
	h, err := client.Sys().Health()
	ok(t, err)
	if !h.Initialized || h.Sealed || h.Standby != s.standby {
		t.Fatalf("%+v", h)
	}
	seal, err := client.Sys().SealStatus()
	ok(t, err)
	if seal.Sealed || seal.Version == "" || seal.StorageType != "postgresql" {
		t.Fatalf("%+v", seal)
	}
	mounts, err := client.Sys().ListMounts()
	ok(t, err)
	if m := mounts["secret/"]; m == nil || m.Type != "kv" || m.Options["version"] != "2" {
		t.Fatalf("%+v", mounts)
	}
	leader, err := client.Sys().Leader()
	ok(t, err)
	initialized, err := client.Sys().InitStatus()
	ok(t, err)
	if leader.HAEnabled || !initialized {
		t.Fatalf("%+v %v", leader, initialized)
	}
	can, err := client.Sys().CapabilitiesSelf("secret/data/app/db")
	ok(t, err)
	if strings.Join(can, " ") != "create delete patch read update" {
		t.Fatalf("%v", can)
	}
}

func TestVaultToken(t *testing.T) {
	s := newSite(t)
	client := newVaultClient(t, s)
	secret := login(t, s, client)
	self, err := client.Auth().Token().LookupSelf()
	ok(t, err)
	if id, _ := self.TokenID(); id != client.Token() {
		t.Fatal("another token")
	}
	ttl, err := self.TokenTTL()
	ok(t, err)
	if renewable, _ := self.TokenIsRenewable(); !renewable || ttl < 590*time.Second || ttl > 600*time.Second {
		t.Fatalf("%v %v", renewable, ttl)
	}
	watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
	ok(t, err)
	go watcher.Start()
	defer watcher.Stop()
	select {
	case err := <-watcher.DoneCh():
		t.Fatalf("the watcher ended: %v", err)
	case r := <-watcher.RenewCh():
		if r.Secret.Auth.LeaseDuration < 590 || !r.Secret.Auth.Renewable {
			t.Fatalf("%+v", r.Secret.Auth)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no renewal")
	}
	ok(t, client.Auth().Token().RevokeSelf(""))
	if _, err := client.Auth().Token().LookupSelf(); !mentions(err, 403, "permission denied") {
		t.Fatalf("revoked: %v", err)
	}
}

// TestVaultTraps: what would make a client do harm if the answer were another.
func TestVaultTraps(t *testing.T) {
	s := newSite(t)
	client := newVaultClient(t, s)
	requests := 0
	client = client.WithRequestCallbacks(func(*api.Request) { requests++ })
	client.SetMaxRetries(2)
	client.SetMinRetryWait(time.Millisecond)
	if _, err := client.KVv2("secret").Put(t.Context(), "app/a", map[string]any{}, api.WithCheckAndSet(5)); err == nil || requests != 1 {
		t.Errorf("check-and-set: %d requests, %v", requests, err)
	}
	wrapping := newVaultClient(t, s)
	s.MustCreate(t, "app/w", "marker")
	wrapping.SetWrappingLookupFunc(func(string, string) string { return "60s" })
	if got, err := wrapping.Logical().Read("secret/data/app/w"); err == nil && (got == nil || got.WrapInfo == nil) {
		t.Errorf("a client that wants a wrapped answer gets %+v", got)
	}
	other := newVaultClient(t, s)
	other.SetNamespace("team")
	if got, err := other.Logical().Read("secret/data/app/w"); got != nil { // the client takes 404 for nothing there
		t.Errorf("another namespace: %+v %v", got, err)
	}
	if _, err := other.Logical().Write("secret/data/app/w", map[string]any{"data": map[string]any{}}); !mentions(err, 404, "namespace not found") {
		t.Errorf("another namespace: %v", err)
	}
	index := newVaultClient(t, s)
	index.SetReadYourWrites(true)
	for range 4 { // clients collect what they are given
		_, err := index.KVv2("secret").Put(t.Context(), "app/i", map[string]any{"k": "v"})
		ok(t, err)
		_, err = index.KVv2("secret").Get(t.Context(), "app/i")
		ok(t, err)
	}
	if r, err := http.Get(s.URL + "/v1/sys/health?standbyok=true&activecode=299"); err != nil || r.StatusCode != 299 { //nolint:noctx
		t.Errorf("health: %v %v", r, err)
	}
}
