package clienttest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func newBaoClient(t *testing.T, s *site) *api.Client {
	t.Helper()
	c := api.DefaultConfig()
	ok(t, c.Error)
	c.Address, c.MaxRetries = s.URL, 0
	client, err := api.NewClient(c)
	ok(t, err)
	client.SetToken(s.AdminToken)
	return client
}

func TestOpenBao(t *testing.T) {
	s := newSite(t)
	client := newBaoClient(t, s)
	auth, err := client.Logical().Write("auth/approle/login", map[string]any{"role_id": s.roleID, "secret_id": s.secretID})
	ok(t, err)
	client.SetToken(auth.Auth.ClientToken)
	ctx, kv := t.Context(), client.KVv2("secret")
	_, err = kv.Put(ctx, "app/db", map[string]any{"n": 1}, api.WithCheckAndSet(0))
	ok(t, err)
	_, err = kv.Patch(ctx, "app/db", map[string]any{"more": "m"})
	ok(t, err)
	got, err := kv.Get(ctx, "app/db")
	ok(t, err)
	if got.Data["more"] != "m" || got.VersionMetadata.Version != 2 {
		t.Fatalf("%+v", got)
	}
	ok(t, kv.Delete(ctx, "app/db"))
	gone, err := kv.Get(ctx, "app/db")
	ok(t, err)
	if gone.Data != nil || gone.VersionMetadata.DeletionTime.IsZero() {
		t.Fatalf("%+v", gone)
	}
	ok(t, kv.Undelete(ctx, "app/db", []int{2}))
	ok(t, kv.Destroy(ctx, "app/db", []int{1}))
	if _, err := kv.Get(ctx, "app/none"); !errors.Is(err, api.ErrSecretNotFound) {
		t.Fatalf("none: %v", err)
	}
	_, err = kv.Put(ctx, "app/deep/er", map[string]any{"k": "v"})
	ok(t, err)
	all, err := kv.Scan(ctx, "app")
	ok(t, err)
	if fmt.Sprint(all.Keys) != "[db deep/er]" {
		t.Fatalf("%v", all.Keys)
	}
	if _, err := kv.ListWithDetails(ctx, "app"); err == nil || !strings.Contains(err.Error(), "unsupported operation") {
		t.Fatalf("detailed-metadata: %v", err)
	}
	ok(t, kv.PutMetadata(ctx, "app/deep/er", api.KVMetadataPutInput{DeleteVersionAfter: time.Hour}))
	_, err = kv.Put(ctx, "app/deep/er", map[string]any{"k": "w"})
	ok(t, err)
	got, err = kv.Get(ctx, "app/deep/er")
	ok(t, err)
	if left := time.Until(got.VersionMetadata.DeletionTime); left < 59*time.Minute || left > time.Hour || got.Data["k"] != "w" {
		t.Fatalf("%+v", got.VersionMetadata)
	}
	renewed, err := client.Auth().Token().RenewSelf(0)
	ok(t, err)
	if renewed.Auth.LeaseDuration < 590 {
		t.Fatalf("%+v", renewed.Auth)
	}
	watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: auth})
	ok(t, err)
	go watcher.Start()
	defer watcher.Stop()
	select {
	case err := <-watcher.DoneCh():
		t.Fatalf("the watcher ended: %v", err)
	case <-watcher.RenewCh():
	case <-time.After(30 * time.Second):
		t.Fatal("no renewal")
	}
	seal, err := client.Sys().SealStatus()
	ok(t, err)
	if seal.Sealed {
		t.Fatalf("%+v", seal)
	}
}
