package clienttest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// suite is the cluster of TestStandbySuite while that runs.
var suite struct{ primary, standby *vaulttest.Cluster }

// onStandby are the tests whose clients a standby serves too. Their changes go to the primary.
var onStandby = map[string]func(*testing.T){
	"TestVaultKV": TestVaultKV, "TestVaultSystem": TestVaultSystem, "TestVaultToken": TestVaultToken, "TestVaultTraps": TestVaultTraps,
	"TestOpenBao": TestOpenBao, "TestVaultClientGo": TestVaultClientGo, "TestConsulTemplate": TestConsulTemplate, "TestHvac": TestHvac,
	"TestAnsible": TestAnsible, "TestReplay": TestReplay, "TestRotatingSecret": TestRotatingSecret, "TestBatchToken": TestBatchToken,
	"TestWrapping": TestWrapping, "TestWrappedLogin": TestWrappedLogin, "TestWrappingTraps": TestWrappingTraps, "TestWrappingIsBounded": TestWrappingIsBounded,
	"TestWebhookRecipe": TestWebhookRecipe, "TestAppRoleAdministration": TestAppRoleAdministration, "TestPolicies": TestPolicies,
	"TestUserpass": TestUserpass, "TestUserpassHvac": TestUserpassHvac, "TestUserpassReplay": TestUserpassReplay,
	"TestVaultDatabaseCredentials": TestVaultDatabaseCredentials, "TestVaultLifetimeWatcher": TestVaultLifetimeWatcher,
	"TestConsulTemplateRendersCredentials": TestConsulTemplateRendersCredentials,
}

// onPrimaryOnly are the other tests.
var onPrimaryOnly = []string{"TestMain", "TestStandby", "TestStandbySuite", "TestStandbyWithoutPrimary", "TestInconsistent", "TestUnwrapOnce"}

// TestStandbySuite runs all clients against a node whose database is a standby. A commit waits until the standby shows it: few
// of the clients say what they have to read.
func TestStandbySuite(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	standby := c.NewStandby(t)
	c.MustSet(t, "synchronous_standby_names = '*'", "synchronous_commit = remote_apply")
	c.MustBecome(t, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
	suite.primary, suite.standby = c, standby
	defer func() { suite.primary, suite.standby = nil, nil }()
	for _, name := range slices.Sorted(maps.Keys(onStandby)) {
		t.Run(name, onStandby[name])
	}
}

// TestStandbySuiteIsWhole: a test that is added later runs on a standby as well, or says that it does not.
func TestStandbySuiteIsWhole(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	ok(t, err)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		ok(t, err)
		for _, d := range f.Decls {
			fn, isFunc := d.(*ast.FuncDecl)
			if !isFunc || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") || fn.Name.Name == t.Name() {
				continue
			}
			if _, runs := onStandby[fn.Name.Name]; runs == slices.Contains(onPrimaryOnly, fn.Name.Name) {
				t.Errorf("%s: %s is in neither list, or in both", name, fn.Name.Name)
			}
		}
	}
}

// TestStandbyWithoutPrimary: clients read while the primary is away.
func TestStandbyWithoutPrimary(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, c)
	standby := c.NewStandby(t)
	onPrimary := newSiteOn(t, db)
	s := *onPrimary
	s.Server, s.standby = vaulttest.NewServer(t, db.On(standby), "VAULT_REQUEST_TIMEOUT_SECS=5", "VAULT_WRITE_TIMEOUT_SECS=5"), true
	s.MustCreate(t, "app/text", "plain")
	client := newVaultClient(t, &s)
	login(t, &s, client)
	standby.MustCatchUp(t)
	token := client.Token()
	onPrimary.MustStop(t)
	c.MustStop(t, syscall.SIGQUIT)
	got, err := client.KVv2("secret").Get(t.Context(), "app/text")
	ok(t, err)
	if got.Data["value"] != "plain" {
		t.Errorf("%+v", got)
	}
	bao := newBaoClient(t, &s)
	bao.SetToken(token)
	secret, err := bao.KVv2("secret").Get(t.Context(), "app/text")
	ok(t, err)
	if secret.Data["value"] != "plain" {
		t.Errorf("%+v", secret)
	}
	list, err := bao.Logical().List("secret/metadata/app")
	ok(t, err)
	if keys := list.Data["keys"].([]any); len(keys) != 1 || keys[0] != "text" {
		t.Errorf("%v", keys)
	}
	_, err = client.Auth().Token().LookupSelf()
	ok(t, err)
	if _, err := client.KVv2("secret").Put(t.Context(), "app/text", map[string]any{"value": "v"}); !mentions(err, 503, "") {
		t.Errorf("a change: %v", err)
	}
	s.replay(t, token, []step{{"GET", "/v1/secret/data/app/text", "", 200, map[string]string{"data.data.value": `"plain"`}, ""},
		{"GET", "/v1/sys/internal/ui/mounts/secret/app/text", "", 200, map[string]string{"data.path": `"secret/"`}, ""},
		{"GET", "/v1/sys/seal-status", "", 200, map[string]string{"sealed": "false"}, ""}})
}

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
