package generate_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

func TestFieldReadsAsJSONDoes(t *testing.T) {
	for _, quoted := range []string{
		`"plain"`, `""`, `"\"\\\/\b\f\n\r\t"`, `"\u00fc\u20AC"`, `"\ud83d\ude00x"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"ü€😀"`, `"\u0000"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(quoted), &want); err != nil {
			t.Fatal(err)
		}
		got, err := generate.Field([]byte(`{"a": 1, "password" : `+quoted+`}`), "password")
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, not %q: %v", quoted, got, want, err)
		}
	}
}

func TestSetFieldKeepsTheRest(t *testing.T) {
	got, err := generate.SetField([]byte(`{ "n":1e3, "username":"a" ,"password":"p"}`), "username", `b"\`)
	if err != nil || string(got) != `{ "n":1e3, "username":"b\"\\" ,"password":"p"}` {
		t.Errorf("%s, %v", got, err)
	}
	for _, doc := range []string{``, `[]`, `{"username":1}`, `{}`, `{"username":"a","username":"b"}`} {
		if _, err := generate.SetField([]byte(doc), "username", "x"); core.CodeOf(err) != core.Invalid {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestLogin(t *testing.T) {
	user, password, err := generate.Login(core.JSON, []byte(`{"username":"app","password":"s3\u0063ret"}`))
	if user != "app" || string(password) != "s3cret" || err != nil {
		t.Errorf("%q, %q, %v", user, password, err)
	}
	user, password, err = generate.Login(core.ContentType("text/plain; charset=utf-8"), []byte(`{"username":"app"}`))
	if user != "" || string(password) != `{"username":"app"}` || err != nil {
		t.Errorf("%q, %q, %v", user, password, err)
	}
	if err := generate.CheckLogin(core.JSON, []byte(`{"username":"app","password":"marker"}`), "other"); core.CodeOf(err) != core.Invalid || strings.Contains(err.Error(), "marker") {
		t.Error(err)
	}
	if err := generate.CheckLogin(core.JSON, []byte(`{"username":"app"}`), "app"); core.CodeOf(err) != core.Invalid {
		t.Error(err)
	}
}
