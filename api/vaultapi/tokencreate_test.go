package vaultapi_test

import "testing"

func TestCreateToken(t *testing.T) {
	s := newServer(t)
	s.store.AddRole("app")
	s.store.GrantTo("app", "app/*", "read")
	// What Terraform's provider does first.
	got := s.want(200, "POST", self+"create", `{"display_name":"terraform","explicit_max_ttl":"1200s","ttl":"1200s","renewable":false,"num_uses":0,"period":"","type":"","meta":null,"policies":null}`)
	s.is(got, "auth.policies", `["vault_admin"]`)
	s.is(got, "auth.lease_duration", "1200")
	s.is(got, "auth.renewable", "false")
	s.is(got, "auth.orphan", "false")
	s.is(got, "auth.token_type", `"service"`)
	s.is(got, "data", "null")
	s.is(s.want(200, "GET", self+"lookup-self", "", "X-Vault-Token: "+got.at("auth.client_token").(string)), "data.ttl", "1200")
	s.want(200, "POST", self+"create", `{"display_name":"terraform"}`) // the same name again
	got = s.want(200, "PUT", self+"create", `{"policies":["app","default"],"ttl":"1h","explicit_max_ttl":"30m0s","no_parent":true,"meta":{"a":"b"},"foo":1}`)
	s.is(got, "auth.policies", `["app"]`)
	s.is(got, "auth.orphan", "true")
	s.is(got, "auth.lease_duration", "1800")
	s.is(got, "warnings", `["Endpoint ignored these unrecognized parameters: [foo]","meta is not stored"]`)
	app := "X-Vault-Token: " + got.at("auth.client_token").(string)
	s.is(s.want(200, "PUT", self+"create", `{"policies":["app"]}`, app), "auth.orphan", "false")
	s.want(403, "PUT", self+"create", `{"policies":["vault_admin"]}`, app)
	s.want(403, "PUT", self+"create-orphan", `{}`, app)
	s.is(s.want(200, "PUT", self+"create-orphan", ``), "auth.orphan", "true")
	for _, body := range []string{`{"type":"batch"}`, `{"period":"1h"}`, `{"num_uses":3}`, `{"entity_alias":"x"}`, `{"id":"x"}`, `{"policies":["app","vault_admin"]}`,
		`{"policies":["none"]}`, `{"policies":[1]}`, `{"ttl":"x"}`, `{"renewable":"x"}`} {
		s.want(400, "PUT", self+"create", body)
	}
	s.fails(403, `["permission denied"]`, "PUT", self+"create", `{}`, "X-Vault-Token: -")
}
