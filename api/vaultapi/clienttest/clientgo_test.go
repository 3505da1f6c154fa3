package clienttest

import (
	"testing"

	vault "github.com/hashicorp/vault-client-go"
	"github.com/hashicorp/vault-client-go/schema"
)

func TestVaultClientGo(t *testing.T) {
	s := newSite(t)
	client, err := vault.New(vault.WithAddress(s.URL))
	ok(t, err)
	ctx := t.Context()
	auth, err := client.Auth.AppRoleLogin(ctx, schema.AppRoleLoginRequest{RoleId: s.roleID, SecretId: s.secretID})
	ok(t, err)
	ok(t, client.SetToken(auth.Auth.ClientToken))
	mount := vault.WithMountPath("secret")
	written, err := client.Secrets.KvV2Write(ctx, "app/db", schema.KvV2WriteRequest{Data: map[string]any{"k": "v"}}, mount)
	ok(t, err)
	if written.Data.Version != 1 {
		t.Fatalf("%+v", written.Data)
	}
	read, err := client.Secrets.KvV2Read(ctx, "app/db", mount)
	ok(t, err)
	if read.Data.Data["k"] != "v" {
		t.Fatalf("%+v", read.Data)
	}
	top, err := client.Secrets.KvV2List(ctx, "/", mount) // which it asks for with two slashes
	ok(t, err)
	if len(top.Data.Keys) != 1 || top.Data.Keys[0] != "app/" {
		t.Fatalf("%+v", top.Data)
	}
	_, err = client.Secrets.KvV2Delete(ctx, "app/db", mount)
	ok(t, err)
	if _, err := client.Secrets.KvV2Read(ctx, "app/db", mount); !vault.IsErrorStatus(err, 404) {
		t.Fatalf("deleted: %v", err)
	}
	_, err = client.Auth.TokenRevokeSelf(ctx)
	ok(t, err)
}
