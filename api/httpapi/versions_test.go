package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

func TestChangeVersions(t *testing.T) {
	a := newAPI(t)
	post := func(op, body string) call {
		return call{method: "POST", path: "/v1/secrets/a/b/" + op, body: body}
	}
	read := func(query string) call { return call{method: "GET", path: "/v1/secrets/a/b" + query} }
	a.create("a/b", "one")
	a.want(call{method: "PUT", path: "/v1/secrets/a/b", body: `{"value":"two"}`, header: map[string]string{"If-Match": `"1"`}}, 200, "")
	got := a.want(post("delete-versions", ""), 200, "")
	if strings.TrimSpace(got.Body.String()) != `{"versions":[2]}` || got.Header().Get("Vault-Lsn") == "" {
		t.Errorf("%s %v", got.Body, got.Header())
	}
	a.want(read(""), 404, "not_found")
	a.want(read("?version=2"), 404, "not_found")
	a.want(read("?version=1"), 200, "")
	if got := a.want(post("delete-versions", `{"versions":[2,99]}`), 200, ""); strings.TrimSpace(got.Body.String()) != `{"versions":[]}` {
		t.Errorf("%s", got.Body)
	}
	a.want(post("undelete-versions", `{"versions":[1,2]}`), 200, "")
	a.want(read(""), 200, "")
	a.want(post("destroy-versions", `{"versions":[1]}`), 200, "")
	a.want(read("?version=1"), 404, "not_found")
	got = a.want(call{method: "GET", path: "/v1/versions/a/b"}, 200, "")
	if !strings.Contains(got.Body.String(), `"destroyed_at"`) || strings.Contains(got.Body.String(), `"envelope_version":0`) {
		t.Errorf("%s", got.Body)
	}
	a.recorder.Take()
	for op, action := range map[string]vault.Action{
		"delete-versions": vault.ActionDeleteVersion, "undelete-versions": vault.ActionUndeleteVersion, "destroy-versions": vault.ActionDestroyVersion,
	} {
		for _, body := range []string{`{"versions":[]}`, `{"versions":[0]}`, `{"versions":["1"]}`, `{"versions":[1.5]}`, `{"versions":1}`,
			`{"versions":null}`, `{"version":1}`, `{"versions":[9223372036854775808]}`, `[1]`,
			`{"versions":[` + strings.Repeat("1,", 1000) + `1]}`} {
			a.want(post(op, body), 400, "invalid")
			if e := a.recorder.Take(); len(e) != 1 || e[0].Action != action || e[0].Name != "a/b" {
				t.Errorf("%s %s: %+v", op, body, e)
			}
		}
		a.want(call{method: "POST", path: "/v1/secrets/none/" + op}, 404, "not_found")
		a.want(call{method: "POST", path: "/v1/secrets/a/b/" + op, noToken: true}, 401, "unauthenticated")
		a.want(call{method: "POST", path: "/v1/secrets/a/b/" + op + "?x=1"}, 400, "invalid")
		a.recorder.Take()
	}
}

func TestCreateWithoutAValue(t *testing.T) {
	a := newAPI(t)
	create := func(body string) call { return call{method: "POST", path: "/v1/secrets", body: body} }
	put := func(match string) call {
		return call{method: "PUT", path: "/v1/secrets/a", body: `{"value":"v"}`, header: map[string]string{"If-Match": match}}
	}
	first := a.want(create(`{"name":"a","without_value":true,"keep_versions":9,"tags":{"x":"y"}}`), 201, "").Header().Get("ETag")
	if first != `"0"` {
		t.Errorf("ETag %s", first)
	}
	a.want(call{method: "GET", path: "/v1/secrets/a"}, 404, "not_found")
	a.want(call{method: "POST", path: "/v1/secrets/a/verify", body: `{"value":"v"}`}, 404, "not_found")
	if got := a.want(call{method: "GET", path: "/v1/versions/a"}, 200, ""); !strings.Contains(got.Body.String(), `"versions":[]`) {
		t.Errorf("%s", got.Body)
	}
	a.want(call{method: "GET", path: "/v1/secrets"}, 200, "")
	a.want(call{method: "PATCH", path: "/v1/metadata/a", body: `{"description":"d"}`, header: map[string]string{"If-Match": `"0.1"`}}, 200, "")
	a.want(put(`"1"`), 412, "stale")
	a.want(put(first), 200, "")
	a.want(put(first), 412, "stale")
	a.want(call{method: "DELETE", path: "/v1/secrets/a", header: map[string]string{"If-Match": `"1"`}}, 204, "")
	second := a.want(create(`{"name":"a","without_value":true}`), 201, "").Header().Get("ETag")
	a.want(put(first), 412, "stale") // of another secret
	a.want(put(`"1"`), 412, "stale")
	a.want(put(second), 200, "")
	for _, body := range []string{`{"name":"b","without_value":true,"value":"v"}`, `{"name":"b","without_value":"yes"}`, `{"name":"b","without_value":false}`,
		`{"name":"b","without_value":true,"kind":"automatic","rotation_interval_secs":5}`} {
		a.want(create(body), 400, "invalid")
	}
	for _, match := range []string{`"00"`, `"0.0"`, `"-0"`, `"0`, `"0.1.1"`} {
		a.want(put(match), 400, "invalid")
	}
}

func TestUpdatesThatMustNameAVersion(t *testing.T) {
	a := newAPI(t)
	a.want(call{method: "POST", path: "/v1/secrets", body: `{"name":"a","value":"one","cas_required":true,"delete_version_after_secs":60}`}, 201, "")
	put := func(match string) call {
		return call{method: "PUT", path: "/v1/secrets/a", body: fmt.Sprintf(`{"value":%q}`, marker), header: map[string]string{"If-Match": match}}
	}
	a.want(put("*"), 428, "precondition_required")
	a.want(put(`"1"`), 200, "")
	got := a.want(call{method: "GET", path: "/v1/versions/a"}, 200, "")
	if !strings.Contains(got.Body.String(), `"delete_at"`) {
		t.Errorf("%s", got.Body)
	}
	got = a.want(call{method: "PATCH", path: "/v1/metadata/a", body: `{"cas_required":false,"delete_version_after_secs":0,"tags_patch":{"x":"y"}}`,
		header: map[string]string{"If-Match": "*"}}, 200, "")
	if got.json["cas_required"] != false || got.json["delete_version_after_secs"] != nil {
		t.Errorf("%s", got.Body)
	}
	a.want(put("*"), 200, "")
	patch := func(body string) call {
		return call{method: "PATCH", path: "/v1/metadata/a", body: body, header: map[string]string{"If-Match": "*"}}
	}
	if got := a.want(patch(`{"tags_patch":{"x":null,"z":"1"}}`), 200, ""); fmt.Sprint(got.json["tags"]) != "map[z:1]" {
		t.Errorf("%s", got.Body)
	}
	for _, body := range []string{`{"tags_patch":[]}`, `{"tags_patch":null}`, `{"tags_patch":{"a":1}}`, `{"tags_patch":{"a":"b"},"tags":{}}`,
		`{"cas_required":"yes"}`, `{"delete_version_after_secs":-1}`, `{"delete_version_after_secs":315360001}`} {
		a.want(patch(body), 400, "invalid")
	}
}
