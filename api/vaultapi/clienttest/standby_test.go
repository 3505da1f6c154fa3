package clienttest

import (
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestStandby: a node whose database is a standby serves clients as the primary's does, and their own writes are seen.
func TestStandby(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, c)
	standby := c.NewStandby(t)
	onPrimary := newSiteOn(t, db)
	s := *onPrimary
	s.Server = vaulttest.NewServer(t, db.On(standby))
	standby.MustCatchUp(t)
	client := newVaultClient(t, &s)
	login(t, &s, client)
	client.SetReadYourWrites(true)
	for i := range 5 {
		_, err := client.KVv2("secret").Put(t.Context(), "app/a", map[string]any{"i": i})
		ok(t, err)
		got, err := client.KVv2("secret").Get(t.Context(), "app/a")
		ok(t, err)
		if got.VersionMetadata.Version != i+1 {
			t.Fatalf("version %d was written and %d was read", i+1, got.VersionMetadata.Version)
		}
	}
	_, err := client.Auth().Token().LookupSelf()
	ok(t, err)
	list, err := client.Logical().List("secret/metadata/")
	ok(t, err)
	if keys := list.Data["keys"].([]any); len(keys) != 1 || keys[0] != "app/" {
		t.Fatalf("%v", keys)
	}
	health, err := client.Sys().Health()
	ok(t, err)
	if !health.Standby || health.Sealed {
		t.Fatalf("%+v", health)
	}
	s.replay(t, "", []step{{"GET", "/v1/sys/health", "", 200, nil, ""}, {"GET", "/v1/sys/health?standbycode=429", "", 429, nil, ""},
		{"GET", "/v1/sys/health?standbycode=429&standbyok=true", "", 200, nil, ""}})
	login(t, &s, client)
	if rendered, _ := consulTemplate(t, &s, client.Token(), `{{ with secret "secret/data/app/a" }}{{ .Data.data.i }}{{ end }}`); rendered != "4" {
		t.Errorf("rendered %q", rendered)
	}
}

// TestInconsistent: a client that asks for it learns that this node has not replayed what it has seen. Others are served.
func TestInconsistent(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, c)
	standby := c.NewStandby(t)
	onPrimary := newSiteOn(t, db)
	s := *onPrimary
	s.Server = vaulttest.NewServer(t, db.On(standby))
	s.MustCreate(t, "app/a", "v")
	standby.MustCatchUp(t)
	paused := db.On(standby)
	paused.MustExec(t, "SELECT pg_wal_replay_pause()")
	standby.MustBecome(t, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
	client := newVaultClient(t, onPrimary)
	var state string
	_, err := client.WithResponseCallbacks(api.RecordState(&state)).KVv2("secret").Put(t.Context(), "app/b", map[string]any{"k": "w"})
	ok(t, err)
	here := newVaultClient(t, &s)
	here.AddHeader("X-Vault-Inconsistent", "fail")
	if _, err := here.WithRequestCallbacks(api.RequireState(state)).KVv2("secret").Get(t.Context(), "app/a"); !mentions(err, 412, "required index state not present") {
		t.Errorf("a node that is behind: %v", err)
	}
	got, err := newVaultClient(t, &s).WithRequestCallbacks(api.RequireState(state)).KVv2("secret").Get(t.Context(), "app/b")
	ok(t, err)
	if got.Data["k"] != "w" {
		t.Errorf("%v", got.Data)
	}
	paused.MustExec(t, "SELECT pg_wal_replay_resume()")
	standby.MustCatchUp(t)
	_, err = here.WithRequestCallbacks(api.RequireState(state)).KVv2("secret").Get(t.Context(), "app/b")
	ok(t, err)
}
