package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func FuzzIfMatch(f *testing.F) {
	for _, s := range []string{`"1"`, `*`, `"9223372036854775807"`, `W/"1"`, `"0"`, `"0.1"`, `"0.0"`, `"18446744073709551614"`, `"01"`, `""`, `"`, `1`, `"1","2"`, ` "1"`, `"3.2"`, `"3."`, `".2"`, `"3.0"`, `"3.02"`, `"3.2.1"`, `"*.1"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseIfMatch(s)
		zero := m.version == vault.VersionZero
		if zero {
			m.version = 0
		}
		switch {
		case err != nil:
			if m != (match{}) {
				t.Fatalf("%q: a version with an error", s)
			}
		case m.version == 0 && !zero:
			if s != "*" || m.revision != 0 {
				t.Fatalf("%q means any version", s)
			}
		case m.revision == 0:
			if etag(m.version) != s {
				t.Fatalf("%q and %q both mean %d", s, etag(m.version), m.version)
			}
		default:
			if tag := metadataTag(vault.Secret{CurrentVersion: m.version, SettingsRevision: m.revision}); tag != s {
				t.Fatalf("%q and %q both mean %+v", s, tag, m)
			}
		}
	})
}

func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "192.0.2.1, 10.0.0.1", "[2001:db8::1]:80", "::ffff:10.0.0.1", "fe80::1%x", ",", "", "unknown", "10.0.0.1:80", "[10.0.0.1]"} {
		f.Add(s)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, s string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "10.9.9.9:1"
		r.Header["X-Forwarded-For"] = []string{s}
		got := clientAddr(r, trusted)
		if !got.IsValid() {
			return
		}
		if got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%q: %v is not plain", s, got)
		}
		// What a client can put in front must not matter once an untrusted hop is known.
		if !within(got, trusted) {
			r.Header["X-Forwarded-For"] = []string{"198.51.100.7, " + s}
			if again := clientAddr(r, trusted); again != got {
				t.Fatalf("%q: a prefix changes %v to %v", s, got, again)
			}
		}
		r.RemoteAddr = "192.0.2.1:1"
		if direct := clientAddr(r, trusted); direct != netip.MustParseAddr("192.0.2.1") {
			t.Fatalf("the header of an untrusted peer counts: %v", direct)
		}
	})
}

func FuzzDecode(f *testing.F) {
	seeds := []string{
		`{"name":"a","value":"b"}`, `{"value_base64":"YQ=="}`, `{"tags":{"a":"b"},"generate_policy":{"length":9}}`, `{}`, ` { } `,
		`{"value":"\ud83d\udd11\u0000\n"}`, `{"value":"\ud800"}`, `{"a":[{"b":"}"},"]"],"c":-1.5e3,"d":null}`, `[]`, `"x"`, `{"a":1}{}`, `{"a":"\\\""}`,
		`{"names":["a","b/c","\u0061"]}`, `{"names":[]}`, `{"names":["a",1]}`, `{"names" : [ "a" , [ "]" ] , {"x":"}"} ]}`,
		`{"rotation_interval_secs":60,"grace_period_secs":0}`, `{"a" : true , "b":false}`,
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		_, _ = decodeCreate(body)
		_, _ = decodeUpdate(body)
		_, _ = decodeVerify(body)
		_, _ = decodeRotate(body)
		_, _ = decodeSettings(body)
		_, _, _ = decodeExpire(body)
		checkNames(t, body)
		o, err := parseObject(body, nil)
		if !bytes.Equal(before, body) {
			t.Fatal("decoding changed the body")
		}
		if err != nil {
			return
		}
		// The standard decoder must see the same fields with the same values.
		var want map[string]json.RawMessage
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q: accepted, and not JSON: %v", body, err)
		}
		if len(want) != len(o) {
			t.Fatalf("%q: %d fields, want %d", body, len(o), len(want))
		}
		for k, raw := range want {
			var a, b any
			if json.Unmarshal(raw, &a) != nil || json.Unmarshal(o[k], &b) != nil || !reflect.DeepEqual(a, b) {
				t.Fatalf("%q: field %q is %q", body, k, o[k])
			}
			checkString(t, o[k], a)
		}
	})
}

// checkNames compares with the standard decoder, which takes more: other fields, half surrogates, null.
func checkNames(t *testing.T, body []byte) {
	t.Helper()
	names, err := decodeNames(body)
	if err != nil {
		if names != nil {
			t.Fatalf("%q: names with an error", body)
		}
		return
	}
	var want struct{ Names []string }
	if err := json.Unmarshal(body, &want); err != nil || !slices.Equal(names, want.Names) || len(names) == 0 || len(names) > vault.MaxBatch {
		t.Fatalf("%q: %q, want %q", body, names, want.Names)
	}
}

func checkString(t *testing.T, raw []byte, want any) {
	t.Helper()
	s, isString := want.(string)
	got, err := jsonscan.Unquote(raw)
	if err != nil {
		if isString && !strings.ContainsRune(s, utf8.RuneError) {
			t.Fatalf("%q is refused: %v", raw, err)
		}
		return
	}
	if !isString || string(got) != s {
		t.Fatalf("%q became %q, want %q", raw, got, want)
	}
	var back string
	if err := json.Unmarshal(jsonscan.AppendQuoted(nil, got), &back); err != nil || back != s {
		t.Fatalf("%q does not come back: %q, %v", got, back, err)
	}
}

func TestBearerNeedsOneHeader(t *testing.T) {
	for _, v := range [][]string{nil, {}, {"Bearer a", "Bearer a"}, {"Basic a"}, {"Bearera"}} {
		if got := bearer(http.Header{"Authorization": v}); got != "" {
			t.Errorf("%q: a token", v)
		}
	}
	for _, v := range []string{"Bearer a", "bearer a", "BEARER   a"} {
		if got := bearer(http.Header{"Authorization": {v}}); string(got) != "a" {
			t.Errorf("%q: no token", v)
		}
	}
}

// TestAppendValue: by hand it is what the standard encoder makes, in the room that was reckoned.
func TestAppendValue(t *testing.T) {
	plains := [][]byte{[]byte("x"), []byte("\"\\\n\x00\x7f é \u2028 𝄞"), bytes.Repeat([]byte{1}, 300), {0xff, 0xfe}, nil}
	for _, plain := range plains {
		for _, ct := range []core.ContentType{core.Text, core.Binary, `text/x; a="q\"q"`} {
			v := vault.Value{Name: "a/b", Kind: core.Manual, ContentType: ct, Version: 1<<64 - 1, CurrentVersion: 1<<64 - 1, Plain: plain,
				CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", 3600))}
			for _, v.ExpiresAt = range []time.Time{{}, v.CreatedAt} {
				room := valueRoom(&v)
				b := appendValue(make([]byte, 0, room), &v)
				if len(b) > room || room > len(b)+100 {
					t.Errorf("%d bytes in a room of %d", len(b), room)
				}
				var got map[string]any
				if err := json.Unmarshal(b, &got); err != nil {
					t.Fatalf("%s: %v", b, err)
				}
				want := map[string]any{"name": "a/b", "kind": "manual", "content_type": string(ct), "version": float64(1<<64 - 1),
					"current_version": float64(1<<64 - 1), "created_at": "2026-01-02T02:04:05.678901234Z"}
				if !v.ExpiresAt.IsZero() {
					want["expires_at"] = want["created_at"]
				}
				if ct.IsText() && utf8.Valid(plain) {
					want["value"] = string(plain)
				} else {
					want["value_base64"] = base64.StdEncoding.EncodeToString(plain)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
			}
		}
	}
}
