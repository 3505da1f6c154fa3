package clienttest

import (
	"testing"

	"github.com/hashicorp/vault/api"
)

// TestBatchToken: clients that find this type neither renew the token nor revoke it.
func TestBatchToken(t *testing.T) {
	s := newSite(t)
	role := s.must(t, 200, 201, "PUT", "/v1/auth/approle/roles/batch", `{"role":"hv_client","token_type":"batch","token_ttl_secs":300}`)
	id := s.must(t, 200, 201, "POST", "/v1/auth/approle/roles/batch/secret-ids", "{}")
	s.roleID, s.secretID = role["id"].(string), id["secret_id"].(string)
	client := newVaultClient(t, s)
	secret := login(t, s, client)
	if secret.Auth.Renewable || secret.Auth.Accessor != "" || secret.Auth.LeaseDuration != 300 {
		t.Errorf("%+v", secret.Auth)
	}
	_, err := client.KVv2("secret").Put(t.Context(), "app/a", map[string]any{"k": "v"})
	ok(t, err)
	self, err := client.Auth().Token().LookupSelf()
	ok(t, err)
	if self.Data["type"] != "batch" || self.Data["renewable"] != false || self.Data["accessor"] != "" || self.Data["path"] != "auth/approle/login" {
		t.Errorf("%+v", self.Data)
	}
	ttl, err := self.TokenTTL()
	ok(t, err)
	if ttl.Seconds() < 280 || ttl.Seconds() > 300 {
		t.Errorf("ttl %v", ttl)
	}
	if _, err := client.Auth().Token().RenewSelf(0); !mentions(err, 400, "batch tokens cannot be renewed") {
		t.Errorf("renewed: %v", err)
	}
	if err := client.Auth().Token().RevokeSelf(""); !mentions(err, 400, "batch tokens cannot be revoked") {
		t.Errorf("revoked: %v", err)
	}
	watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret, RenewBehavior: api.RenewBehaviorIgnoreErrors})
	ok(t, err)
	watcher.Stop()
}
