package client_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/client/clienttest"
)

type inner struct {
	Token string `vault:"api/token"`
}

type config struct {
	inner
	Password []byte        `vault:"db/password"`
	User     string        `vault:"db/login,field=user"`
	Port     string        `vault:"db/login,field=port"`
	Whole    *client.Value `vault:"db/login"`
	Address  netip.Addr    `vault:"db/address"`
	Missing  *client.Value `vault:"db/missing,optional"`
	Default  string        `vault:"db/other,optional"`
	Nested   struct {
		Mail string `vault:"mail/password"`
	}
	Untouched string
}

func TestFill(t *testing.T) {
	s := clienttest.NewServer(t)
	for name, value := range map[string]string{
		"api/token": "tok", "db/password": "pw", "db/login": `{"user":"a\"ü","port":5432}`, "db/address": "10.0.0.1", "mail/password": "mail",
	} {
		s.Put(name, value)
	}
	cfg := config{Default: "as it was", Untouched: "x"}
	if err := s.Client(t).Fill(t.Context(), &cfg); err != nil {
		t.Fatal(err)
	}
	got := strings.Join([]string{cfg.Token, string(cfg.Password), cfg.User, cfg.Port, cfg.Address.String(), cfg.Default, cfg.Nested.Mail, cfg.Untouched}, "|")
	if got != `tok|pw|a"ü|5432|10.0.0.1|as it was|mail|x` || cfg.Missing != nil || cfg.Whole.Version != 1 || len(cfg.Whole.Bytes) == 0 {
		t.Errorf("%s %v", got, cfg.Whole)
	}
	if n := s.Requests("POST /v1/batch-read"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestFillErrors(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("a", "secret-marker")
	s.Put("b", "fine")
	c := s.Client(t)
	var missing struct {
		B string `vault:"b"`
		A string `vault:"nothing/here"`
	}
	var field struct {
		B string `vault:"b"`
		A string `vault:"a,field=x"`
	}
	for want, into := range map[string]any{
		"no such secret": &missing, "no JSON object": &field, "not one of the field's type": new(struct {
			A netip.Addr `vault:"a"`
		}),
		"the type int": new(struct {
			A int `vault:"a"`
		}),
		"not exported": new(struct {
			a string `vault:"a"`
		}),
		"no name": new(struct {
			A string `vault:""`
		}),
		"not known": new(struct {
			A string `vault:"a,fieldx"`
		}),
		"no pointer": struct{}{},
	} {
		err := c.Fill(t.Context(), into)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "marker") {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	if missing.B != "" || field.B != "" {
		t.Error("a part was filled")
	}
}
