package main

import (
	"context"
	"os"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/client"
)

func TestMain(m *testing.M) {
	testscript.Main(vaulttest.Main(m, vaulttest.Options{Settings: []string{"hyperion_vault.deleted_retention_days = 7"}}), map[string]func(){"hyperion-vault": main})
}

// TestScripts runs each script of testdata against a real vault of its own.
func TestScripts(t *testing.T) {
	files, err := os.ReadDir("testdata")
	if err != nil || len(files) < 8 {
		t.Fatal(len(files), err)
	}
	params := testscript.Params{
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"awaitaudit": awaitAudit, "approle": appRole, "agekey": ageKey, "binder": binder},
		Dir:  "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			tb := e.T().(testing.TB)
			db := vaulttest.NewDB(tb)
			db.MustExec(tb, "CREATE ROLE app_"+db.Name)
			// Templates are defined as this role, which all databases of the server share: another script may be at it.
			db.MustExec(tb, "DO $$ BEGIN ALTER ROLE vault_admin CREATEROLE; EXCEPTION WHEN internal_error THEN NULL; END $$")
			db.MustExec(tb, "SELECT vault.create_role_template('app/reader', '{}', '1 hour', '2 hours', role_prefix => 'leased_"+db.Name+"')")
			s := vaulttest.NewServer(tb, db)
			e.Values["server"] = s
			e.Values["exec"] = func(sql string) { db.MustExec(tb, sql) }
			e.Setenv("VAULT_ADDR", s.URL)
			e.Setenv("VAULT_TOKEN", s.AdminToken)
			e.Setenv("ROLE", "app_"+db.Name)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("VAULT_MAX_RETRIES", "0")
			return nil
		},
	}
	testscript.Run(t, params)
}

// awaitAudit waits until the audit has a record of a name and an action.
func awaitAudit(ts *testscript.TestScript, _ bool, args []string) {
	c := administrator(ts)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for r, err := range c.Audit(context.Background(), "", 0) {
			ts.Check(err)
			if r.Name == args[0] && r.Action == args[1] {
				return
			}
		}
	}
	ts.Fatalf("the audit has no record of %v", args)
}

const patience = 20 * time.Second

func administrator(ts *testscript.TestScript) *client.Client {
	s := ts.Value("server").(*vaulttest.Server)
	c, err := client.New(client.Config{Address: s.URL, Token: s.AdminToken})
	ts.Check(err)
	return c
}

// appRole makes a login by AppRole: the role id is in ROLE_ID, and the secret id in a file.
func appRole(ts *testscript.TestScript, _ bool, _ []string) {
	c, ctx := administrator(ts), context.Background()
	_, err := c.PutLoginMethod(ctx, "approle", client.NewLoginMethod{Kind: "approle"})
	ts.Check(err)
	role, err := c.PutLoginRole(ctx, "approle", "ci", client.NewLoginRole{Role: ts.Getenv("ROLE")})
	ts.Check(err)
	id, err := c.CreateSecretID(ctx, "approle", "ci", client.NewSecretID{})
	ts.Check(err)
	ts.Setenv("ROLE_ID", role.ID)
	ts.Check(os.WriteFile(ts.MkAbs("secret-id"), []byte(id.SecretID+"\n"), 0o600))
}

// ageKey makes a key pair of age: the private key is in the file age.key, and the public one in RECIPIENT.
func ageKey(ts *testscript.TestScript, _ bool, _ []string) {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Setenv("RECIPIENT", id.Recipient().String())
	ts.Check(os.WriteFile(ts.MkAbs("age.key"), []byte(id.String()+"\n"), 0o600))
}

// binder makes a role that may set the password of ROLE. Its name is in BINDER.
func binder(ts *testscript.TestScript, _ bool, _ []string) {
	name, exec := "binder_"+ts.Getenv("ROLE"), ts.Value("exec").(func(string))
	exec("CREATE ROLE " + name + " CREATEROLE")
	exec("GRANT " + ts.Getenv("ROLE") + " TO " + name + " WITH ADMIN OPTION")
	ts.Setenv("BINDER", name)
}
