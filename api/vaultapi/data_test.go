package vaultapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const data = "/v1/secret/data/"

func TestReadAndWrite(t *testing.T) {
	s := newServer(t)
	got := s.want(200, "PUT", data+"app/db", `{"data":{"user":"u","n":12345678901234567890,"x":1.50},"options":{}}`)
	s.is(got, "data", `{"created_time":"2026-01-02T03:04:05Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}`)
	for _, name := range []string{"X-Vault-Index", "Vault-Lsn"} {
		if got.Header().Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	got = s.want(200, "GET", data+"app/db", "")
	if !strings.Contains(got.Body.String(), `"data":{"data":{"user":"u","n":12345678901234567890,"x":1.50},"metadata":`) {
		t.Errorf("the value is not as it was stored: %s", got.Body)
	}
	s.is(got, "data.metadata", `{"created_time":"2026-01-02T03:04:05Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}`)
	for member, want := range map[string]string{"lease_id": `""`, "renewable": "false", "lease_duration": "0", "wrap_info": "null", "warnings": "null", "auth": "null"} {
		s.is(got, member, want)
	}
	s.want(200, "POST", data+"app/db", `{"data":{"user":"v"}}`, "Content-Type: application/x-www-form-urlencoded")
	s.is(s.want(200, "GET", data+"app/db?version=1&unknown=x", ""), "data.data.user", `"u"`)
	s.is(s.want(200, "GET", data+"app/db?version=0", ""), "data.data.user", `"v"`)
	s.fails(404, `[]`, "GET", data+"app/db?version=9", "")
	s.recorder.Take()
	s.fails(404, `[]`, "GET", data+"none", "")
	if e := s.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionRead {
		t.Errorf("one read has the records %+v", e)
	}
	for _, v := range []string{"x", "-1", "1.5", "99999999999999999999"} {
		s.want(400, "GET", data+"app/db?version="+v, "")
	}
}

// TestCheckAndSet: 412 would be tried again by clients, which do not know it for this.
func TestCheckAndSet(t *testing.T) {
	s := newServer(t)
	const stale = `["check-and-set parameter did not match the current version"]`
	s.fails(400, stale, "PUT", data+"a", `{"data":{},"options":{"cas":1}}`)
	s.want(200, "PUT", data+"a", `{"data":{"k":"1"},"options":{"cas":0}}`)
	s.fails(400, stale, "PUT", data+"a", `{"data":{"k":"2"},"options":{"cas":0}}`)
	s.want(200, "PUT", data+"a", `{"data":{"k":"2"},"options":{"cas":"1"}}`)
	s.fails(400, stale, "PUT", data+"a", `{"data":{"k":"3"},"options":{"cas":1}}`)
	got := s.want(200, "PUT", data+"a", `{"cas":0,"data":{"k":"3"},"options":null}`)
	s.is(got, "warnings", `["Endpoint ignored these unrecognized parameters: [cas]"]`)
	s.want(204, "PUT", "/v1/secret/metadata/a", `{"cas_required":true}`)
	s.fails(400, `["check-and-set parameter required for this call"]`, "PUT", data+"a", `{"data":{"k":"4"}}`)
	s.want(200, "PUT", data+"a", `{"data":{"k":"4"},"options":{"cas":3}}`)
	s.fails(400, `["no data provided"]`, "PUT", data+"a", `{"options":{"cas":3}}`)
	s.fails(400, `["no data provided"]`, "PUT", data+"a", ``)
	for _, body := range []string{`{"data":"text"}`, `{"data":[1]}`, `{"data":{},"options":[]}`, `{"data":{},"options":{"cas":-1}}`, `{"data":{},"options":{"cas":"x"}}`, `[]`} {
		s.want(400, "PUT", data+"a", body)
	}
	for _, body := range []string{`{`, `x`, `{"data":{}}{}`} {
		if got := s.want(400, "PUT", data+"a", body); !strings.Contains(got.Body.String(), "failed to decode JSON input: ") {
			t.Errorf("%s", got.Body)
		}
	}
}

// TestOneStore: what is made through one door is read through the other.
func TestOneStore(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct{ name, made, read, written string }{
		{"text", `"value":"say \"hi\"\n"`, `{"value":"say \"hi\"\n"}`, `{"value":"other"}`},
		{"bytes", `"content_type":"application/octet-stream","value_base64":"AP8="`, `{"value_base64":"AP8="}`, `{"value_base64":"AA=="}`},
		{"json", `"content_type":"application/json","value":"{\"a\":1}"`, `{"a":1}`, `{"b":[2]}`},
		{"list", `"content_type":"application/json","value":"[1]"`, `{"value":"[1]"}`, `{"b":[2]}`},
	} {
		s.want(201, "POST", "/v1/secrets", `{"name":"`+c.name+`",`+c.made+`}`, "Content-Type: application/json")
		s.is(s.want(200, "GET", data+c.name, ""), "data.data", c.read)
		s.want(200, "PUT", data+c.name, `{"data":`+c.written+`}`)
		s.is(s.want(200, "GET", data+c.name, ""), "data.data", c.written)
	}
	for _, body := range []string{`{"data":{"value":1}}`, `{"data":{"value":"x","more":"y"}}`, `{"data":{"other":"x"}}`} {
		s.want(400, "PUT", data+"text", body)
	}
	s.want(400, "PUT", data+"bytes", `{"data":{"value_base64":"A"}}`)
	got := s.want(200, "GET", "/v1/secrets/json", "")
	s.is(got, "value", `"{\"b\":[2]}"`)
}

func TestVersions(t *testing.T) {
	s := newServer(t)
	for _, v := range []string{"1", "2", "3", "4"} {
		s.want(200, "PUT", data+"a", `{"data":{"v":"`+v+`"}}`)
	}
	s.want(204, "DELETE", data+"a", "")
	got := s.want(404, "GET", data+"a", "")
	s.is(got, "data.data", "null")
	s.is(got, "data.metadata.version", "4")
	s.is(got, "data.metadata.deletion_time", `"2026-01-02T03:04:05Z"`)
	s.want(204, "PUT", "/v1/secret/delete/a", `{"versions":["2",3]}`)
	s.want(204, "PUT", "/v1/secret/undelete/a", `{"versions":[4, 2, 77]}`)
	s.is(s.want(200, "GET", data+"a", ""), "data.data.v", `"4"`)
	s.is(s.want(200, "GET", data+"a?version=2", ""), "data.data.v", `"2"`)
	s.want(204, "PUT", "/v1/secret/destroy/a", `{"versions":[1]}`)
	got = s.want(404, "GET", data+"a?version=1", "")
	s.is(got, "data.metadata.destroyed", "true")
	s.is(got, "data.data", "null")
	for _, op := range []string{"delete", "undelete", "destroy"} {
		s.fails(400, `["No version number provided"]`, "PUT", "/v1/secret/"+op+"/a", `{}`)
		s.want(400, "PUT", "/v1/secret/"+op+"/a", `{"versions":["x"]}`)
		s.want(204, "PUT", "/v1/secret/"+op+"/none", `{"versions":[1]}`)
	}
	s.want(204, "DELETE", data+"none", "")
	got = s.want(200, "GET", "/v1/secret/metadata/a", "")
	s.is(got, "data.current_version", "4")
	s.is(got, "data.versions.1.destroyed", "true")
	s.is(got, "data.versions.3.deletion_time", `"2026-01-02T03:04:05Z"`)
	s.want(204, "DELETE", "/v1/secret/metadata/a", "")
	s.want(204, "DELETE", "/v1/secret/metadata/a", "")
	s.fails(404, `[]`, "GET", "/v1/secret/metadata/a", "")
	s.fails(404, `[]`, "GET", data+"a", "")
}

// TestDeletionTime: a value that will be deleted by itself says when, in each answer that has it.
func TestDeletionTime(t *testing.T) {
	s := newServer(t)
	s.want(204, "PUT", "/v1/secret/metadata/a", `{"delete_version_after":"1h"}`)
	const at = `"2026-01-02T04:04:05Z"`
	s.is(s.want(200, "PUT", data+"a", `{"data":{"k":"v"}}`), "data.deletion_time", at)
	s.is(s.want(200, "GET", data+"a", ""), "data.metadata.deletion_time", at)
	s.is(s.want(200, "GET", "/v1/secret/metadata/a", ""), "data.versions.1.deletion_time", at)
}

// TestMetadataFirst is what External Secrets does when it pushes a secret.
func TestMetadataFirst(t *testing.T) {
	s := newServer(t)
	s.want(204, "PUT", "/v1/secret/metadata/a", `{"custom_metadata":{"managed-by":"external-secrets"},"max_versions":"7","delete_version_after":"24h0m0s"}`)
	got := s.want(200, "GET", "/v1/secret/metadata/a", "")
	s.is(got, "data", `{"cas_required":false,"created_time":"2026-01-02T03:04:05Z","current_version":0,"custom_metadata":{"managed-by":"external-secrets"},`+
		`"delete_version_after":"24h0m0s","max_versions":7,"oldest_version":0,"updated_time":"2026-01-02T03:04:05Z","versions":{}}`)
	s.fails(404, `[]`, "GET", data+"a", "")
	s.want(200, "PUT", data+"a", `{"data":{"k":"v"},"options":{"cas":0}}`)
	s.is(s.want(200, "GET", data+"a", ""), "data.metadata.custom_metadata", `{"managed-by":"external-secrets"}`)
	s.want(204, "PATCH", "/v1/secret/metadata/a", `{"custom_metadata":{"managed-by":null,"x":"y"}}`, "Content-Type: application/merge-patch+json")
	s.is(s.want(200, "GET", "/v1/secret/metadata/a", ""), "data.custom_metadata", `{"x":"y"}`)
	got = s.want(200, "PUT", "/v1/secret/metadata/a", `{"max_versions":0,"foo":1}`)
	s.is(got, "warnings", `["Endpoint ignored these unrecognized parameters: [foo]"]`)
	s.is(s.want(200, "GET", "/v1/secret/metadata/a", ""), "data.max_versions", `0`)
	s.want(204, "PUT", "/v1/secret/metadata/a", ``)
	s.want(204, "PUT", "/v1/secret/metadata/b", `{}`)
	if got := s.want(404, "PATCH", "/v1/secret/metadata/none", `{}`); got.Body.Len() != 0 {
		t.Errorf("%s", got.Body)
	}
	for _, body := range []string{`{"custom_metadata":[]}`, `{"custom_metadata":{"a":1}}`, `{"max_versions":-1}`, `{"max_versions":102}`, `{"delete_version_after":"x"}`, `{"cas_required":"maybe"}`} {
		s.want(400, "PUT", "/v1/secret/metadata/a", body)
	}
}

func TestPatch(t *testing.T) {
	s := newServer(t)
	if got := s.want(404, "PATCH", data+"a", `{"data":{"x":"1"}}`); got.Body.Len() != 0 {
		t.Errorf("%s", got.Body)
	}
	s.want(200, "PUT", data+"a", `{"data":{"keep":1.50,"gone":"x","in":{"a":1,"b":2}}}`)
	s.want(200, "PATCH", data+"a", `{"data":{"gone":null,"in":{"a":null,"c":{"d":null}},"new":[1]},"options":{"cas":1}}`, "Content-Type: application/merge-patch+json")
	got := s.want(200, "GET", data+"a", "")
	s.is(got, "data.data", `{"in":{"b":2,"c":{}},"keep":1.5,"new":[1]}`)
	if !strings.Contains(got.Body.String(), `"keep":1.50`) {
		t.Errorf("a number was rewritten: %s", got.Body)
	}
	s.want(400, "PATCH", data+"a", `{"data":{"x":"1"},"options":{"cas":1}}`)
	s.want(400, "PATCH", data+"a", `{"data":`+strings.Repeat(`{"a":`, 40)+`1`+strings.Repeat(`}`, 40)+`}`)
	s.want(204, "DELETE", data+"a", "")
	s.is(s.want(404, "PATCH", data+"a", `{"data":{"x":"1"}}`), "data.metadata.version", "2")
}

func TestList(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"top", "app", "app/db", "app/deep/x", "app/deep/y", "app-x", "app.x", "appx", "app/zz"} {
		s.want(200, "PUT", data+name, `{"data":{}}`)
	}
	s.recorder.Take()
	for _, path := range []string{"?list=true", "/?list=true", "/app?list=true"} {
		got := s.want(200, "GET", "/v1/secret/metadata"+path, "")
		if strings.Contains(path, "app") {
			s.is(got, "data", `{"keys":["db","deep/","zz"]}`)
		} else {
			s.is(got, "data", `{"keys":["app","app-x","app.x","app/","appx","top"]}`)
		}
		if e := s.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionList {
			t.Errorf("recorded %+v", e)
		}
	}
	s.is(s.want(200, "LIST", "/v1/secret/metadata/app/", ""), "data.keys", `["db","deep/","zz"]`)
	s.is(s.want(200, "GET", "/v1/secret/metadata/?list=true&limit=2&after=app.x", ""), "data.keys", `["app/","appx"]`)
	s.is(s.want(200, "GET", "/v1/secret/metadata/?list=true&after=app/", ""), "data.keys", `["appx","top"]`)
	s.fails(404, `[]`, "LIST", "/v1/secret/metadata/none", "")
	s.want(400, "LIST", "/v1/secret/metadata/?limit=x", "")
	s.want(400, "LIST", "/v1/secret/metadata/?after="+strings.Repeat("a", 300)+"/", "")
	got := s.want(http.StatusTemporaryRedirect, "GET", "/v1/secret/metadata//?list=true", "")
	if to := got.Header().Get("Location"); to != "/v1/secret/metadata/?list=true" {
		t.Errorf("redirected to %s", to)
	}
}

// TestLease: an agent reads a secret that rotates again when its next value is due.
func TestLease(t *testing.T) {
	s := newServer(t)
	s.want(201, "POST", "/v1/secrets", `{"name":"auto","kind":"automatic","rotation_interval_secs":3600,"keep_versions":1}`, "Content-Type: application/json")
	s.is(s.want(200, "GET", data+"auto", ""), "lease_duration", "3600")
	s.now = s.now.Add(59*time.Minute + 59*time.Second + time.Millisecond)
	s.is(s.want(200, "GET", data+"auto", ""), "lease_duration", "1")
	s.now = s.now.Add(time.Minute) // it is due, and not made yet
	s.is(s.want(200, "GET", data+"auto", ""), "lease_duration", "15")
	s.want(200, "POST", "/v1/secrets/auto/rotate", "")
	s.is(s.want(200, "GET", data+"auto?version=1", ""), "lease_duration", "0")
}

func TestSubkeys(t *testing.T) {
	s := newServer(t)
	s.want(200, "PUT", "/v1/secret/data/a", `{"data":{"b":{"c":{"d":"`+marker+`"},"e":[{"f":1}]},"g":"`+marker+`","h":{}}}`)
	got := s.want(200, "GET", "/v1/secret/subkeys/a", "")
	s.is(got, "data.subkeys", `{"b":{"c":{"d":null},"e":null},"g":null,"h":null}`)
	s.is(got, "data.metadata.version", `1`)
	if strings.Contains(got.Body.String(), marker) {
		t.Error("a value is shown")
	}
	s.is(s.want(200, "GET", "/v1/secret/subkeys/a?depth=1", ""), "data.subkeys", `{"b":null,"g":null,"h":null}`)
	s.is(s.want(200, "GET", "/v1/secret/subkeys/a?depth=0&version=1", ""), "data.subkeys.b.c", `{"d":null}`)
	for _, q := range []string{"depth=-1", "depth=x", "version=-1"} {
		s.want(400, "GET", "/v1/secret/subkeys/a?"+q, "")
	}
	s.fails(404, `[]`, "GET", "/v1/secret/subkeys/none", "")
}
