package httpapi_test

import (
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestBadBodies(t *testing.T) {
	a := newAPI(t)
	a.create("x", "v")
	big := strings.Repeat("v", core.DefaultMaxValueLen+1)
	huge := strings.Repeat("v", core.DefaultMaxValueLen/3*4+70<<10)
	type bad struct {
		body   string
		status int
		code   string
	}
	shared := map[string]bad{
		"empty":                 {"", 415, "unsupported_media_type"},
		"blank":                 {" ", 400, "invalid"},
		"not JSON":              {"{" + marker, 400, "invalid"},
		"array":                 {`["` + marker + `"]`, 400, "invalid"},
		"string":                {`"` + marker + `"`, 400, "invalid"},
		"null":                  {`null`, 400, "invalid"},
		"trailing object":       {`{"value":"` + marker + `"}{}`, 400, "invalid"},
		"trailing text":         {`{"value":"` + marker + `"} x`, 400, "invalid"},
		"comment":               {`{"value":"v"/**/}`, 400, "invalid"},
		"unknown field":         {`{"value":"` + marker + `","colour":"red"}`, 400, "invalid"},
		"other case":            {`{"Value":"v"}`, 400, "invalid"},
		"field twice":           {`{"value":"a","value":"b"}`, 400, "invalid"},
		"field twice, escaped":  {`{"value":"a","\u0076alue":"b"}`, 400, "invalid"},
		"both values":           {`{"value":"a","value_base64":"YQ=="}`, 400, "invalid"},
		"number":                {`{"value":5}`, 400, "invalid"},
		"null value":            {`{"value":null}`, 400, "invalid"},
		"bool":                  {`{"value":true}`, 400, "invalid"},
		"object value":          {`{"value":{"a":"` + marker + `"}}`, 400, "invalid"},
		"empty value":           {`{"value":""}`, 400, "invalid"},
		"NUL in text":           {`{"value":"a\u0000"}`, 400, "invalid"},
		"half a surrogate":      {`{"value":"` + marker + `\ud800"}`, 400, "invalid"},
		"half a surrogate, low": {`{"value":"\udc00 x"}`, 400, "invalid"},
		"surrogate and letter":  {`{"value":"\ud800\u0041"}`, 400, "invalid"},
		"invalid UTF-8":         {"{\"value\":\"" + marker + "\xff\"}", 400, "invalid"},
		"base64 not padded":     {`{"value_base64":"YQ"}`, 400, "invalid"},
		"base64 of URLs":        {`{"value_base64":"-_-_"}`, 400, "invalid"},
		"base64 loose bits":     {`{"value_base64":"YR=="}`, 400, "invalid"},
		"base64 line break":     {`{"value_base64":"YWJj\nZGVm"}`, 400, "invalid"},
		"base64 empty":          {`{"value_base64":""}`, 400, "invalid"},
		"deep":                  {`{"value":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, 400, "invalid"},
		"value too large":       {`{"value":"` + big + `"}`, 413, "too_large"},
		"padding too large":     {`{"value":"v"` + strings.Repeat(" ", 200<<10) + `}`, 413, "too_large"},
		"body too large":        {`{"value":"` + huge + `"}`, 413, "too_large"},
	}
	routes := map[string]call{
		"create": {method: "POST", path: "/v1/secrets"},
		"update": {method: "PUT", path: "/v1/secrets/x", header: map[string]string{"If-Match": `"1"`}},
		"verify": {method: "POST", path: "/v1/secrets/x/verify"},
	}
	for route, c := range routes {
		for name, b := range shared {
			t.Run(route+"/"+name, func(t *testing.T) {
				c.body = b.body
				if route == "create" {
					c.body = strings.Replace(b.body, `{"`, `{"name":"new","`, 1)
				}
				if route == "verify" && name == "NUL in text" {
					a.want(c, 200, "") // a candidate may be any bytes
					return
				}
				a.recorder.Take()
				a.want(c, b.status, b.code)
				if e := a.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeFailed {
					t.Fatalf("records %+v", e)
				}
			})
		}
	}
	a.want(call{method: "GET", path: "/v1/secrets/new", noToken: true}, 404, "not_found")
	got := a.want(call{method: "GET", path: "/v1/secrets/x", noToken: true}, 200, "")
	if got.json["version"] != 1.0 {
		t.Fatal("a bad request changed something")
	}
}

func TestBadCreates(t *testing.T) {
	a := newAPI(t)
	for name, fields := range map[string]string{
		"no name":             `"value":"v"`,
		"null name":           `"name":null,"value":"v"`,
		"number name":         `"name":5,"value":"v"`,
		"bad name":            `"name":"a//b","value":"v"`,
		"empty kind":          `"name":"n","kind":"","value":"v"`,
		"empty content type":  `"name":"n","content_type":"","value":"v"`,
		"unknown kind":        `"name":"n","kind":"robot","value":"v"`,
		"kind of wrong type":  `"name":"n","kind":["manual"],"value":"v"`,
		"bad content type":    `"name":"n","content_type":"text","value":"v"`,
		"no value":            `"name":"n"`,
		"fraction":            `"name":"n","kind":"automatic","rotation_interval_secs":1.5`,
		"exponent":            `"name":"n","kind":"automatic","rotation_interval_secs":1e3`,
		"quoted number":       `"name":"n","kind":"automatic","rotation_interval_secs":"60"`,
		"huge number":         `"name":"n","kind":"automatic","rotation_interval_secs":99999999999999999999`,
		"negative":            `"name":"n","value":"v","grace_period_secs":-1`,
		"null number":         `"name":"n","value":"v","grace_period_secs":null`,
		"tags array":          `"name":"n","value":"v","tags":["a"]`,
		"tags null":           `"name":"n","value":"v","tags":null`,
		"tags numbers":        `"name":"n","value":"v","tags":{"a":1}`,
		"tags twice":          `"name":"n","value":"v","tags":{"a":"1","a":"2"}`,
		"tags nested":         `"name":"n","value":"v","tags":{"a":{"b":"c"}}`,
		"policy null":         `"name":"n","value":"v","generate_policy":null`,
		"policy string":       `"name":"n","value":"v","generate_policy":"x"`,
		"policy unknown":      `"name":"n","value":"v","generate_policy":{"size":3}`,
		"policy short":        `"name":"n","value":"v","generate_policy":{"length":1}`,
		"text is not UTF-8":   `"name":"n","value_base64":"/w=="`,
		"JSON is none":        `"name":"n","content_type":"application/json","value":"{"`,
		"manual, interval":    `"name":"n","value":"v","rotation_interval_secs":5`,
		"automatic, interval": `"name":"n","kind":"automatic"`,
	} {
		t.Run(name, func(t *testing.T) {
			a.recorder.Take()
			a.want(call{method: "POST", path: "/v1/secrets", body: "{" + fields + "}"}, 400, "invalid")
			if e := a.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionCreate || e[0].Code != core.Invalid {
				t.Fatalf("%+v", e)
			}
		})
	}
	a.create("n", "v")
	a.want(call{method: "POST", path: "/v1/secrets", body: `{"name":"n","value":"` + marker + `"}`}, 409, "exists")
	a.want(call{method: "POST", path: "/v1/secrets?x=1", body: `{"name":"m","value":"v"}`}, 400, "invalid")
}

func TestBadUpdates(t *testing.T) {
	a := newAPI(t)
	a.create("x", "v")
	for name, c := range map[string]struct {
		match, body string
		status      int
		code        string
	}{
		"no precondition":     {"", `{"value":"w"}`, 428, "precondition_required"},
		"bare number":         {"1", `{"value":"w"}`, 400, "invalid"},
		"weak":                {`W/"1"`, `{"value":"w"}`, 400, "invalid"},
		"list":                {`"1", "2"`, `{"value":"w"}`, 400, "invalid"},
		"zero":                {`"0"`, `{"value":"w"}`, 412, "stale"},
		"leading zero":        {`"01"`, `{"value":"w"}`, 400, "invalid"},
		"sign":                {`"+1"`, `{"value":"w"}`, 400, "invalid"},
		"word":                {`"latest"`, `{"value":"w"}`, 400, "invalid"},
		"past bigint":         {`"9223372036854775808"`, `{"value":"w"}`, 400, "invalid"},
		"stale":               {`"2"`, `{"value":"w"}`, 412, "stale"},
		"content type":        {`"1"`, `{"value":"w","content_type":"text/html"}`, 400, "invalid"},
		"kind":                {`"1"`, `{"value":"w","kind":"automatic"}`, 400, "invalid"},
		"no value":            {`"1"`, `{"description":"d"}`, 400, "invalid"},
		"null description":    {`"1"`, `{"value":"w","description":null}`, 400, "invalid"},
		"grace of wrong type": {`"1"`, `{"value":"w","grace_period_secs":"1"}`, 400, "invalid"},
		"tags of wrong type":  {`"1"`, `{"value":"w","tags":1}`, 400, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			h := map[string]string{}
			if c.match != "" {
				h["If-Match"] = c.match
			}
			a.recorder.Take()
			a.want(call{method: "PUT", path: "/v1/secrets/x", body: c.body, header: h}, c.status, c.code)
			if e := a.recorder.Take(); len(e) != 1 || e[0].Name != "x" {
				t.Fatalf("%+v", e)
			}
		})
	}
	a.want(call{method: "DELETE", path: "/v1/secrets/x"}, 428, "precondition_required")
	a.want(call{method: "DELETE", path: "/v1/secrets/x", header: map[string]string{"If-Match": "1"}}, 400, "invalid")
	a.want(call{method: "PUT", path: "/v1/secrets/none", body: `{"value":"w"}`, header: map[string]string{"If-Match": "*"}}, 404, "not_found")
	a.want(call{method: "PUT", path: "/v1/secrets/x", body: `{"value":"w","description":"","tags":{}}`, header: map[string]string{"If-Match": "*"}}, 200, "")
}

func TestMediaTypes(t *testing.T) {
	a := newAPI(t)
	body := `{"name":"n","value":"` + marker + `"}`
	for _, ct := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/", "multipart/form-data"} {
		c := call{method: "POST", path: "/v1/secrets", body: body, noType: true}
		if ct != "" {
			c.header = map[string]string{"Content-Type": ct}
		}
		a.want(c, 415, "unsupported_media_type")
	}
	a.want(call{method: "POST", path: "/v1/secrets", body: body, header: map[string]string{"Content-Encoding": "gzip"}}, 415, "unsupported_media_type")
	a.want(call{method: "POST", path: "/v1/secrets", body: body, header: map[string]string{"Content-Type": "Application/JSON; Charset=UTF-8"}}, 201, "")
}

func TestQueries(t *testing.T) {
	a := newAPI(t)
	for _, n := range []string{"a", "b/1", "b/2", "c"} {
		a.create(n, "v")
	}
	got := a.want(call{method: "GET", path: "/v1/secrets?limit=2", noToken: true}, 200, "")
	if got.json["next"] != "b/1" {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "GET", path: "/v1/secrets?limit=2&after=b/1", noToken: true}, 200, "")
	if got.json["next"] != nil {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "GET", path: "/v1/secrets?prefix=b%2F", noToken: true}, 200, "")
	if l, _ := got.json["secrets"].([]any); len(l) != 2 {
		t.Fatalf("%s", got.Body)
	}
	got = a.want(call{method: "GET", path: "/v1/secrets?prefix=zzz", noToken: true}, 200, "")
	if l, ok := got.json["secrets"].([]any); !ok || len(l) != 0 {
		t.Fatalf("an empty list is an array: %s", got.Body)
	}
	for _, q := range []string{"limit=0", "limit=1001", "limit=x", "limit=", "limit=1&limit=2", "prefix=/", "prefix=a//", "prefix=%ff", "after=a/", "after=..", "offset=3", "%zz", "a;b"} {
		a.recorder.Take()
		a.want(call{method: "GET", path: "/v1/secrets?" + q, noToken: true}, 400, "invalid")
		if e := a.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionList {
			t.Fatalf("%s: %+v", q, e)
		}
	}
	for _, q := range []string{"version=0", "version=-1", "version=x", "version=", "version=01", "version=9223372036854775808", "version=1&version=1", "Version=1", "v=1"} {
		a.want(call{method: "GET", path: "/v1/secrets/a?" + q, noToken: true}, 400, "invalid")
	}
	a.want(call{method: "GET", path: "/v1/secrets/a?version=7", noToken: true}, 404, "not_found")
	for _, p := range []string{"/v1/metadata/a?x", "/v1/versions/a?version=1"} {
		a.want(call{method: "GET", path: p, noToken: true}, 400, "invalid")
	}
	for _, p := range []string{"rotate", "verify"} {
		a.want(call{method: "POST", path: "/v1/secrets/a/" + p + "?x=1", body: map[string]string{"rotate": "", "verify": `{"value":"v"}`}[p]}, 400, "invalid")
	}
	a.want(call{method: "DELETE", path: "/v1/secrets/a?force=1", header: map[string]string{"If-Match": "*"}}, 400, "invalid")
	a.want(call{method: "PUT", path: "/v1/secrets/a?x", body: `{"value":"v"}`, header: map[string]string{"If-Match": "*"}}, 400, "invalid")
}
