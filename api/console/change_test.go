package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

func (b *browser) value(name string) string {
	b.t.Helper()
	v, err := b.door.Read(b.t.Context(), b.admin(), name, 0)
	must(b.t, err)
	defer v.Wipe()
	return string(v.Plain)
}

func TestCreate(t *testing.T) {
	b := newBrowser(t)
	b.login(b.token)
	mustContain(t, b.get("/secret/new?prefix=app/"), `value="app/"`, "New secret")
	t.Run("OK", func(t *testing.T) {
		w := b.post("/secret/new", "name", "app/pem", "kind", "manual", "value", "line 1\r\nl\u00edne 2+&=%\r\n", "description", "d", "tags", "team=pay\r\nenv = prod\r\n",
			"grace", "2", "grace_unit", "hours", "content_type", "text/plain; charset=utf-8")
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/secret?done=created&name=app%2Fpem" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if got := b.value("app/pem"); got != "line 1\nl\u00edne 2+&=%\n" {
			t.Errorf("the value is %q", got)
		}
		mustContain(t, b.get(w.Header().Get("Location")), "The secret was created.", "team=pay", "env=prod", "2 h 0 min")
	})
	t.Run("automatic", func(t *testing.T) {
		w := b.post("/secret/new", "name", "app/auto", "kind", "automatic", "value", "", "interval", "7", "interval_unit", "days")
		if w.Code != http.StatusSeeOther || len(b.value("app/auto")) < 16 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		mustContain(t, b.get("/secret?name=app/auto"), "every 7 days")
	})
	for name, tt := range map[string]struct {
		status int
		say    string
		fields []string
	}{
		"taken":        {http.StatusConflict, "exists", []string{"name", "app/pem", "kind", "manual", "value", marker}},
		"no name":      {http.StatusBadRequest, "name", []string{"kind", "manual", "value", marker}},
		"no value":     {http.StatusBadRequest, "value", []string{"name", "app/x", "kind", "manual"}},
		"bad tags":     {http.StatusBadRequest, "each line of the tags", []string{"name", "app/x", "kind", "manual", "value", marker, "tags", "team"}},
		"bad grace":    {http.StatusBadRequest, "the grace is not a whole number", []string{"name", "app/x", "kind", "manual", "value", marker, "grace", "-1"}},
		"unknown unit": {http.StatusBadRequest, "the interval has no unit", []string{"name", "app/x", "kind", "automatic", "interval", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			b.recorder.Take()
			w := b.post("/secret/new", tt.fields...)
			if w.Code != tt.status {
				t.Errorf("%d, want %d", w.Code, tt.status)
			}
			mustContain(t, w.Body.String(), `role="alert"`, tt.say)
			mustLack(t, w.Body.String(), marker)
			if e := b.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeFailed || e[0].Action != vault.ActionCreate {
				t.Errorf("records: %+v", e)
			}
		})
	}
}

func TestUpdateNamesItsVersion(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", "one")
	b.login(b.token)
	mustContain(t, b.get("/secret/update?name=app/db"), `name="expected" value="1"`)
	if w := b.post("/secret/update", "name", "app/db", "expected", "1", "value", "two"); w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	w := b.post("/secret/update", "name", "app/db", "expected", "1", "value", marker)
	if w.Code != http.StatusPreconditionFailed {
		t.Errorf("a stale version: %d", w.Code)
	}
	mustContain(t, w.Body.String(), "Another change came first", `name="expected" value="1"`)
	mustLack(t, w.Body.String(), marker)
	for _, expected := range []string{"", "x", "-1"} {
		if w := b.post("/secret/update", "name", "app/db", "expected", expected, "value", marker); w.Code != http.StatusBadRequest {
			t.Errorf("expected %q: %d", expected, w.Code)
		}
	}
	if got := b.value("app/db"); got != "two" {
		t.Errorf("the value is %q", got)
	}
	_, err := b.door.CreateMetadata(t.Context(), b.admin(), vault.CreateRequest{Name: "app/empty", WithoutValue: true})
	must(t, err)
	mustContain(t, b.get("/secret/update?name=app/empty"), "It becomes the first version", `name="expected" value="0"`)
	if w := b.post("/secret/update", "name", "app/empty", "expected", "0", "value", "first"); w.Code != http.StatusSeeOther || b.value("app/empty") != "first" {
		t.Errorf("the first version: %d %s", w.Code, w.Body)
	}
}

func TestRotateAndExpireNeedTheName(t *testing.T) {
	b := newBrowser(t)
	b.create("app/auto", "", func(r *vault.CreateRequest) {
		r.Kind, r.Value, r.RotationIntervalSecs, r.GracePeriodSecs = "automatic", nil, 86400, 3600
	})
	b.login(b.token)
	before := b.value("app/auto")
	mustContain(t, b.get("/secret/rotate?name=app/auto"), "Type the name to confirm")
	for _, confirm := range []string{"", "app/aut", "APP/AUTO"} {
		if w := b.post("/secret/rotate", "name", "app/auto", "expected", "1", "confirm", confirm); w.Code != http.StatusBadRequest || b.value("app/auto") != before {
			t.Errorf("confirm %q: %d", confirm, w.Code)
		}
	}
	if w := b.post("/secret/rotate", "name", "app/auto", "expected", "1", "confirm", "app/auto"); w.Code != http.StatusSeeOther || b.value("app/auto") == before {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.post("/secret/rotate", "name", "app/auto", "expected", "1", "confirm", "app/auto"); w.Code != http.StatusPreconditionFailed {
		t.Errorf("twice: %d", w.Code)
	}
	mustContain(t, b.get("/secret?name=app/auto"), "End grace")
	mustContain(t, b.get("/secret/expire?name=app/auto&version=1"), "version 1")
	if w := b.post("/secret/expire", "name", "app/auto", "version", "1", "grace", "0", "confirm", "x"); w.Code != http.StatusBadRequest {
		t.Errorf("not confirmed: %d", w.Code)
	}
	if w := b.post("/secret/expire", "name", "app/auto", "version", "1", "grace", "0", "confirm", "app/auto"); w.Code != http.StatusSeeOther {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	mustLack(t, b.get("/secret?name=app/auto"), "End grace")
}

func TestChangesNeedRights(t *testing.T) {
	b := newBrowser(t)
	b.create("app/db", "one")
	b.store.AddRole("reader")
	b.store.GrantTo("reader", "app/*", "read")
	b.login(b.newToken("read", "reader"))
	mustLack(t, b.get("/secret?name=app/db"), "New value", "/secret/rotate")
	for path, fields := range map[string][]string{
		"/secret/new":    {"name", "app/x", "kind", "manual", "value", marker},
		"/secret/update": {"name", "app/db", "expected", "1", "value", marker},
		"/secret/rotate": {"name", "app/db", "expected", "1", "confirm", "app/db"},
		"/secret/expire": {"name", "app/db", "version", "1", "grace", "0", "confirm", "app/db"},
	} {
		b.recorder.Take()
		w := b.post(path, fields...)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
		mustContain(t, w.Body.String(), `role="alert"`)
		mustLack(t, w.Body.String(), marker)
		if e := b.recorder.Take(); len(e) != 1 || e[0].Outcome != vault.OutcomeDenied {
			t.Errorf("%s: records %+v", path, e)
		}
	}
	if got := b.value("app/db"); got != "one" {
		t.Errorf("the value is %q", got)
	}
}

func TestLargeValues(t *testing.T) {
	b := newBrowser(t)
	b.login(b.token)
	if w := b.post("/secret/new", "name", "a", "kind", "manual", "value", strings.Repeat("\u00e9", 32<<10)); w.Code != http.StatusSeeOther {
		t.Errorf("64 KiB, each byte in three characters: %d", w.Code)
	}
	if w := b.post("/secret/new", "name", "b", "kind", "manual", "value", strings.Repeat("a", 64<<10+1)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("one byte more: %d", w.Code)
	}
	if w := b.post("/secret/new", "name", "b", "kind", "manual", "value", strings.Repeat("a", 1<<20)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", w.Code)
	}
}
