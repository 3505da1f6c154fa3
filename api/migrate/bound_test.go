package migrate

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestBoundRoles: an export asks once which secrets are passwords of roles, and does not hide that it could not find out.
func TestBoundRoles(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		status       int
		losses       int
		wrong        string
	}{
		{"OK", `{"roles":[{"name":"app/b","role":"x"},{"name":"app/b","role":"y"},{"name":"app/z","role":"z"}]}`, 200, 1, ""},
		{"OKNone", `{"roles":[]}`, 200, 0, ""},
		{"OKNoSuchPath", `{}`, 404, 0, ""},
		{"ErrServer", `{}`, 500, 0, "list the bound roles: the server answers 500"},
		{"ErrForm", `[]`, 200, 0, "has not the form"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/v1/roles":
					if asked++; r.URL.Query().Get("prefix") != "app" {
						t.Errorf("asked for %s", r.URL)
					}
					w.WriteHeader(tt.status)
					_, _ = io.WriteString(w, tt.answer)
				case r.URL.Path == "/v1/secrets":
					_, _ = io.WriteString(w, `{"secrets":[{"name":"app/a","content_type":"text/plain"},{"name":"app/b","content_type":"text/plain"}]}`)
				case strings.Contains(r.URL.Path, "/metadata/"):
					_, _ = io.WriteString(w, `{"data":{"current_version":1,"versions":{"1":{}}}}`)
				default:
					_, _ = io.WriteString(w, `{"value":"v"}`)
				}
			}))
			defer s.Close()
			c, err := NewClient(ClientConfig{Address: s.URL, Mount: "secret", Token: "t"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			sink, err := NewLineWriter(io.Discard, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			ex := Exporter{Source: &Own{Client: c, Prefix: "app"}, Sink: sink, Progress: io.Discard}
			report, err := ex.Run(t.Context())
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Fatalf("%v, %+v", err, report)
				}
				return
			}
			if err != nil || asked != 1 || report.Written != 2 || len(report.Losses) != tt.losses {
				t.Fatalf("%v, asked %d times, %+v", err, asked, report)
			}
			if tt.losses == 1 && report.Losses[0] != (Note{"app/b", "it is the password of a role of PostgreSQL, and will not be bound"}) {
				t.Errorf("%+v", report.Losses)
			}
		})
	}
}
