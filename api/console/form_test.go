package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzForm compares with net/url, which keeps copies that cannot be wiped.
func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "a=b", "method=token&token=x%2By+z", "a=1&a=2", "a=%", "%zz=1", "=&=", "a&b", "%00=%ff", "a==b&&c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if strings.Contains(body, ";") {
			return // net/url refuses what older servers took for a separator
		}
		got, err := parseForm(http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(body))
		want, werr := url.ParseQuery(body)
		twice := false
		for _, values := range want {
			twice = twice || len(values) > 1
		}
		if (err != nil) != (werr != nil || twice) {
			t.Fatalf("%q: %v, want %v, twice %v", body, err, werr, twice)
		}
		if err != nil {
			return
		}
		if len(got.fields) != len(want) {
			t.Fatalf("%q: %q, want %q", body, got.fields, want)
		}
		for key, values := range want {
			if string(got.fields[key]) != values[0] {
				t.Errorf("%q: %s is %q, want %q", body, key, got.fields[key], values[0])
			}
		}
		got.wipe()
		if strings.Trim(string(got.buf), "\x00") != "" {
			t.Error("the wiped form holds something")
		}
	})
}
