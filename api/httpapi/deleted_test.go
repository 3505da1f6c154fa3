package httpapi_test

import "testing"

func TestDeletedSecrets(t *testing.T) {
	a := newAPI(t)
	const none = "00000000-0000-4000-8000-000000000000"
	if got := a.want(call{method: "GET", path: "/v1/deleted"}, 200, ""); len(got.json["secrets"].([]any)) != 0 {
		t.Errorf("%s", got.Body)
	}
	a.want(call{method: "GET", path: "/v1/deleted?prefix=a&limit=3&after=1." + none}, 200, "")
	for _, query := range []string{"?limit=0", "?limit=x", "?limit=1001", "?after=a", "?after=1.", "?after=1.00000000-0000-4000-8000-00000000000A", "?after=-1." + none, "?after=99999999999999999999." + none, "?prefix=a//b"} {
		a.want(call{method: "GET", path: "/v1/deleted" + query}, 400, "invalid")
	}
	a.want(call{method: "GET", path: "/v1/deleted", from: "203.0.113.9:1", noToken: true}, 403, "denied")
	a.want(call{method: "POST", path: "/v1/deleted/" + none + "/restore"}, 404, "not_found")
	a.want(call{method: "DELETE", path: "/v1/deleted/" + none}, 404, "not_found")
	a.want(call{method: "POST", path: "/v1/deleted/x/restore"}, 400, "invalid")
	a.want(call{method: "DELETE", path: "/v1/deleted/x"}, 400, "invalid")
	a.want(call{method: "POST", path: "/v1/deleted/" + none + "/restore", noToken: true}, 401, "unauthenticated")
	a.want(call{method: "DELETE", path: "/v1/deleted/" + none, noToken: true}, 401, "unauthenticated")
	a.create("a", "one")
	remove := func(query string) call {
		return call{method: "DELETE", path: "/v1/secrets/a" + query, header: map[string]string{"If-Match": "*"}}
	}
	a.want(remove("?destroy=false"), 400, "invalid")
	a.want(remove("?destroy="), 400, "invalid")
	a.want(remove("?destroy=true"), 204, "")
}
