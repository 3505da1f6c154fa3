package migrate

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDotenv(t *testing.T) {
	for _, tt := range []struct{ name, text, want, wrong string }{
		{"OKEmpty", "", `{}`, ""},
		{"OKPlain", "A=1\nexport B = two words # comment\r\n\n# C=3\nD=a#b\nE=\nF=#none", `{"A":"1","B":"two words","D":"a#b","E":"","F":""}`, ""},
		{"OKQuotes", "A='x \\n $Y\nz' # c\nB=\"a\\n\\\"\\$b\nc\"\n", `{"A":"x \\n $Y\nz","B":"a\n\"$b\nc"}`, ""},
		{"OKMark", "\ufeffA=é", `{"A":"é"}`, ""},
		{"OKNamedExport", "export=1", `{"export":"1"}`, ""},
		{"ErrNoKey", "A=1\n=MARKER", "", "line 2: it is no KEY=value"},
		{"ErrNoValue", "MARKER", "", "line 1: it is no KEY=value"},
		{"ErrTwice", "A='x\ny'\nA=MARKER", "", "line 3: its key was there before"},
		{"ErrOpen", "A='MARKER", "", "line 1: a single quote is not closed"},
		{"ErrOpenDouble", "\nA=\"MARKER\n\n", "", "line 2: a double quote is not closed"},
		{"ErrEscape", `A="MARKER\x"`, "", "line 1: a backslash is followed by none of"},
		{"ErrAfterQuote", `A="MARKER"b`, "", "line 1: something follows"},
		{"ErrBackslashAtEnd", `A="MARKER\`, "", "line 1: a backslash"},
		{"ErrBytes", "A=\xff", "", "the file is not text in UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Dotenv([]byte(tt.text))
			if tt.wrong != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.wrong) || strings.Contains(err.Error(), "MARKER") || got != nil {
					t.Fatalf("%s, %v", got, err)
				}
				return
			}
			if err != nil || !equal(got, []byte(tt.want)) {
				t.Fatalf("%s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// FuzzDotenv: what is accepted is an object of strings, in memory that was not outgrown.
func FuzzDotenv(f *testing.F) {
	for _, s := range []string{"", "A=1", "export A='x\ny' # z", `A="\n\$"`, "A=\x01\x02", "A\n", "#", "A=\"\\", "A=#"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Dotenv(text)
		if err != nil {
			if got != nil {
				t.Fatal("a result and an error")
			}
			return
		}
		var out map[string]string
		if err := json.Unmarshal(got, &out); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		if cap(got) > 6*len(text)+64 {
			t.Fatalf("%d bytes for %d", cap(got), len(text))
		}
		if !equal(got, got[:len(got):len(got)]) {
			t.Fatal("it differs from itself")
		}
	})
}

// FuzzJSON: every name and object of a file comes out, or nothing does.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a/b":{"k":"v"}}`, `{"a":1}`, `[]`, `{"a":{},"a":{}}`, `{"we ird":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := JSON(text)
		if err != nil {
			return
		}
		seen := 0
		err = file.Names(t.Context(), func(name string) error {
			seen++
			s, err := file.Fetch(t.Context(), name)
			if err != nil || (s.refused == "") != (len(s.values) == 1 && json.Valid(s.values[0])) {
				t.Fatalf("%q: %+v, %v", name, s, err)
			}
			s.Wipe()
			return nil
		}, func(string, string) { seen++ })
		if err != nil || seen != len(file.objects) {
			t.Fatalf("%d of %d, %v", seen, len(file.objects), err)
		}
	})
}

func TestEqual(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[true,"x"]}`, `{ "b": [true, "\u0078"], "a": 1 }`, true},
		{`{"a":1}`, `{"a":1.0}`, false},
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":1}`, `{"b":1}`, false},
		{`{"a":[1,2]}`, `{"a":[2,1]}`, false},
		{`{"a":[1]}`, `{"a":[1,1]}`, false},
		{`{"a":"1"}`, `{"a":1}`, false},
		{`{"a":null}`, `{"a":null}`, true},
		{`{"n":12345678901234567890}`, `{"n":12345678901234567891}`, false},
	} {
		if equal([]byte(tt.a), []byte(tt.b)) != tt.want {
			t.Errorf("%s %s: want %v", tt.a, tt.b, tt.want)
		}
	}
}

func TestNewClient(t *testing.T) {
	good := ClientConfig{Address: "https://vault.example.org:8200/", Mount: "team/kv", Token: "s.TOKEN"}
	if _, err := NewClient(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ClientConfig){
		"ErrClear":   func(c *ClientConfig) { c.Address = "http://vault.example.org" },
		"ErrNoHost":  func(c *ClientConfig) { c.Address = "https://" },
		"ErrUser":    func(c *ClientConfig) { c.Address = "https://u:TOKEN@h" },
		"ErrMount":   func(c *ClientConfig) { c.Mount = "../sys" },
		"ErrNoToken": func(c *ClientConfig) { c.Token = "" },
		"ErrToken":   func(c *ClientConfig) { c.Token = "TOKEN\nX: y" },
		"ErrRoots":   func(c *ClientConfig) { c.Roots = []byte("none") },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := NewClient(c); err == nil || strings.Contains(err.Error(), "TOKEN") {
				t.Errorf("%v", err)
			}
		})
	}
}

// fake is a server whose answers are given by method and path; a list of them is used up to the last.
func fake(t *testing.T, answers map[string][]string) (*Client, *[]string) {
	t.Helper()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + r.URL.Path
		asked = append(asked, key)
		list := answers[key]
		if len(list) == 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if len(list) > 1 {
			answers[key] = list[1:]
		}
		switch list[0] {
		case "later":
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
		case "elsewhere":
			http.Redirect(w, r, "/v1/secret/stolen", http.StatusTemporaryRedirect)
		case "denied":
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = w.Write([]byte(list[0]))
		}
	}))
	t.Cleanup(srv.Close)
	c, err := NewClient(ClientConfig{Address: srv.URL, Mount: "secret", Token: "s.TOKEN"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, &asked
}

func TestClient(t *testing.T) {
	t.Run("OKLater", func(t *testing.T) {
		c, _ := fake(t, map[string][]string{"GET /v1/secret/config": {"later", "later", "{}"}})
		var waited []time.Duration
		c.wait = func(_ context.Context, d time.Duration) error { waited = append(waited, d); return nil }
		if err := c.check(t.Context()); err != nil || len(waited) != 2 || waited[0] != 3*time.Second {
			t.Errorf("%v, waited %v", err, waited)
		}
	})
	t.Run("ErrAlwaysLater", func(t *testing.T) {
		c, asked := fake(t, map[string][]string{"GET /v1/secret/config": {"later"}})
		c.wait = func(context.Context, time.Duration) error { return nil }
		if err := c.check(t.Context()); statusOf(err) != 429 || len(*asked) != maxTries {
			t.Errorf("%v after %d", err, len(*asked))
		}
	})
	t.Run("ErrRedirect", func(t *testing.T) {
		c, asked := fake(t, map[string][]string{"GET /v1/secret/config": {"elsewhere"}})
		if err := c.check(t.Context()); statusOf(err) != 307 || len(*asked) != 1 {
			t.Errorf("%v, asked %v", err, *asked)
		}
	})
	t.Run("ErrForm", func(t *testing.T) {
		c, _ := fake(t, map[string][]string{"GET /v1/secret/data/a": {`{"data":{"data":"MARKER"}}`}})
		if v, err := c.read(t.Context(), "a", 1); v != nil || err != errForm {
			t.Errorf("%s, %v", v, err)
		}
	})
}

// TestOddNames: what we have no name for is reported, nothing below it is asked for, and the rest goes on.
func TestOddNames(t *testing.T) {
	c, asked := fake(t, map[string][]string{
		"GET /v1/secret/metadata/":    {`{"data":{"keys":["a b","..","../","/","é/","closed/","emptied/","ok","ok/"]}}`},
		"GET /v1/secret/metadata/ok/": {`{"data":{"keys":["x"]}}`}, "GET /v1/secret/metadata/closed/": {"denied"},
	})
	var names, skipped []string
	err := (&KV{Client: c}).Names(t.Context(), func(name string) error { names = append(names, name); return nil },
		func(name, _ string) { skipped = append(skipped, name) })
	if err != nil || strings.Join(names, " ") != "ok ok/x" || strings.Join(skipped, "|") != "a b|..|../|/|é/|closed/" {
		t.Errorf("%v: %q, skipped %q", err, names, skipped)
	}
	if len(*asked) != 4 {
		t.Errorf("asked for %q", *asked)
	}
}

// TestListWithoutPages: Vault answers with everything each time.
func TestListWithoutPages(t *testing.T) {
	keys := make([]string, pageSize)
	for i := range keys {
		keys[i] = "k" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + time.Duration(i).String()
	}
	b, err := json.Marshal(map[string]any{"data": map[string]any{"keys": keys}})
	if err != nil {
		t.Fatal(err)
	}
	c, asked := fake(t, map[string][]string{"GET /v1/secret/metadata/": {string(b)}})
	got, err := c.list(t.Context(), "")
	if err != nil || len(got) != pageSize || len(*asked) != 2 {
		t.Errorf("%d keys by %d requests, %v", len(got), len(*asked), err)
	}
}
