package vaultapi

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"data":{"a":1},"options":{"cas":"3"}}`, `{"versions":["1",2]}`, `{"versions":3}`, `null`, ``, `{"custom_metadata":{"a":null,"b":"c"}}`,
		`{"max_versions":"12","delete_version_after":"24h0m0s","cas_required":1}`, `{"increment":7200}`, `{"policies":["a"],"ttl":"1d"}`, `{"ttl":1e300}`, `{"a":"\ud800"}`, `{"token":null}`, `{"role_id":"r","secret_id":"s"}`,
		`{"role":"r","jwt":"j","x":[{}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		fs, err := parseFields(raw)
		check := func(err error) {
			if err != nil && core.CodeOf(err) != core.Invalid {
				t.Fatalf("%q: %v", raw, err)
			}
		}
		if check(err); err != nil {
			return
		}
		w, err := writtenOf(fs)
		if check(err); err == nil && (w.data[0] != '{' || !json.Valid(w.data)) {
			t.Fatalf("%q: the data is %q", raw, w.data)
		}
		for _, patch := range []bool{false, true} {
			_, err = settingsOf(fs, patch)
			check(err)
		}
		_, err = fs.versions()
		check(err)
		d, err := fs.duration("increment")
		if check(err); d < 0 {
			t.Fatalf("%q: %v", raw, d)
		}
		_, err = tokenRequestOf(fs)
		check(err)
		_, err = roleOf(fs)
		check(err)
		check(decodeLogin(fs, &vault.LoginRequest{}))
		_ = fs.warnings()
		if !bytes.Equal(before, raw) {
			t.Fatal("decoding changed the body")
		}
	})
}

// FuzzMergePatch compares with a merge patch of decoded objects.
func FuzzMergePatch(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":2}}`), []byte(`{"a":null,"b":{"d":[1]}}`))
	f.Add([]byte(`{}`), []byte(`{"a":{"b":null}}`))
	f.Add([]byte(`{"a":"x"}`), []byte(`{"a":{"\u0000":"y"}}`))
	f.Fuzz(func(t *testing.T, target, patch []byte) {
		var a, b any
		if json.Unmarshal(target, &a) != nil || json.Unmarshal(patch, &b) != nil || !isMap(a) || !isMap(b) {
			return
		}
		target, patch = bytes.TrimSpace(target), bytes.TrimSpace(patch)
		out, err := mergePatch(target, patch)
		if err != nil {
			return
		}
		if cap(out) > 6*(len(target)+len(patch))+16 {
			t.Fatalf("the buffer was outgrown: %d", cap(out))
		}
		var got any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q + %q = %q: %v", target, patch, out, err)
		}
		if want := merged(a, b); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q + %q = %q, want %v", target, patch, out, want)
		}
	})
}

func isMap(v any) bool { _, ok := v.(map[string]any); return ok }

func merged(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = merged(t[k], v)
		}
	}
	return t
}

// FuzzPath: a path is either redirected to one that is clean, or leads to an endpoint by its own text.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/v1/secret/data/a", "/v1/secret/metadata//", "/v1/secret/data/../x", "/v1/sys/internal/ui/mounts/secret/a", "/v1/auth/token/lookup-self/", "/v1/secret", "", "//", "/v1/secret/data/a%2Fb"} {
		f.Add(s)
	}
	a := New(Config{})
	f.Fuzz(func(t *testing.T, path string) {
		u := &url.URL{Path: path}
		to, clean := cleaned(u)
		if !clean {
			v, err := url.Parse(to)
			if err != nil {
				t.Fatalf("%q: redirected to %q: %v", path, to, err)
			}
			if _, again := cleaned(v); !again || v.Host != "" {
				t.Fatalf("%q: redirected to %q", path, to)
			}
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = u
		if route := a.Route(r); route.Name != "" && !strings.HasSuffix(path, "/"+route.Name) {
			t.Fatalf("%q: the name is %q", path, route.Name)
		}
	})
}
