package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const automatic = `{"name":"svc/key","kind":"automatic","rotation_interval_secs":60}`

func TestConfigure(t *testing.T) {
	patch := func(body, match string) call {
		c := call{method: "PATCH", path: "/v1/metadata/svc/key", body: body}
		if match != "" {
			c.header = map[string]string{"If-Match": match}
		}
		return c
	}
	a := newAPI(t)
	a.want(call{method: "POST", path: "/v1/secrets", body: automatic}, 201, "")
	got := a.want(patch(`{"rotation_schedule":"30 2 * * 1","rotation_time_zone":"Europe/Berlin","rotation_window_secs":3600,
		"rotation_paused":true,"keep_versions":3,"grace_period_secs":9,"description":"d","tags":{"a":"b"},"generate_policy":{"length":40}}`, `"1"`), 200, "")
	want := map[string]any{"rotation_schedule": "30 2 * * 1", "rotation_time_zone": "Europe/Berlin", "rotation_window_secs": 3600.0,
		"rotation_paused": true, "keep_versions": 3.0, "grace_period_secs": 9.0, "description": "d", "current_version": 1.0,
		"rotation_interval_secs": nil}
	for k, v := range want {
		if got.json[k] != v {
			t.Errorf("%s is %v, want %v", k, got.json[k], v)
		}
	}
	if got.Header().Get("ETag") != `"1.2"` || got.json["settings_revision"] != 2.0 {
		t.Errorf("ETag %s, %s", got.Header().Get("ETag"), got.Body)
	}
	got = a.want(patch(`{"rotation_interval_secs":5,"rotation_paused":false}`, "*"), 200, "")
	if got.json["rotation_schedule"] != nil || got.json["rotation_interval_secs"] != 5.0 || got.json["rotation_paused"] != nil {
		t.Errorf("%s", got.Body)
	}
	a.want(patch(`{"keep_versions":1}`, ""), 428, "precondition_required")
	a.want(patch(`{"keep_versions":1}`, `"2"`), 412, "stale")
	for _, body := range []string{`{}`, `{"kind":"manual"}`, `{"value":"x"}`, `{"keep_versions":101}`, `{"keep_versions":4294967297}`,
		`{"keep_versions":"1"}`, `{"rotation_paused":"yes"}`, `{"rotation_paused":null}`, `{"rotation_schedule":"@daily"}`,
		`{"rotation_schedule":null}`, `{"rotation_interval_secs":0}`, `{"rotation_interval_secs":1,"rotation_schedule":"* * * * *"}`,
		`{"rotation_time_zone":"Mars"}`, `{"rotation_window_secs":5}`, `{"grace_period_secs":-1}`, `{"tags":[]}`, `{"generate_policy":{"x":1}}`} {
		a.want(patch(body, `"1"`), 400, "invalid")
	}
	a.want(call{method: "PATCH", path: "/v1/metadata/none", body: `{"keep_versions":1}`, header: map[string]string{"If-Match": "*"}}, 404, "not_found")
	denied := patch(`{"keep_versions":1}`, `"1"`)
	denied.noToken = true
	a.want(denied, 401, "unauthenticated")
}

// TestConfigureIfMatch: of two clients that have read the same settings one replaces them, the other is told.
func TestConfigureIfMatch(t *testing.T) {
	a := newAPI(t)
	a.create("a", "one")
	read := call{method: "GET", path: "/v1/metadata/a"}
	patch := func(match string) call {
		return call{method: "PATCH", path: "/v1/metadata/a", body: `{"tags":{"x":"y"}}`, header: map[string]string{"If-Match": match}}
	}
	tag := a.want(read, 200, "").Header().Get("ETag")
	if tag != `"1.1"` {
		t.Errorf("ETag %s", tag)
	}
	next := a.want(patch(tag), 200, "").Header().Get("ETag")
	a.want(patch(tag), 412, "stale")
	if got := a.want(read, 200, "").Header().Get("ETag"); got != next || got == tag {
		t.Errorf("ETag %s, then %s; a change answered %s", tag, got, next)
	}
	a.want(patch(`"1"`), 200, "") // that version, whatever its settings
	// A value's tag is its version. Where values are changed, metadata's tag names no more than that.
	put := a.want(call{method: "PUT", path: "/v1/secrets/a", body: `{"value":"two","description":"d"}`, header: map[string]string{"If-Match": tag}}, 200, "")
	if put.Header().Get("ETag") != `"2"` || put.json["settings_revision"] != 4.0 {
		t.Errorf("ETag %s, %s", put.Header().Get("ETag"), put.Body)
	}
	a.want(patch(`"1.4"`), 412, "stale")
	a.want(patch(`"2.4"`), 200, "")
}

func TestCreateWithSchedule(t *testing.T) {
	a := newAPI(t)
	got := a.want(call{method: "POST", path: "/v1/secrets", body: `{"name":"s","kind":"automatic","value":"imported",
		"rotation_schedule":"0 3 * * *","keep_versions":2}`}, 201, "")
	if got.json["rotation_schedule"] != "0 3 * * *" || got.json["keep_versions"] != 2.0 || got.json["current_version"] != 1.0 {
		t.Errorf("%s", got.Body)
	}
	for _, body := range []string{`"rotation_schedule":"0 3 * *"`, `"rotation_schedule":"0 3 * * *","rotation_interval_secs":1`, `"keep_versions":-1`, `"rotation_interval_secs":1,"rotation_paused":1`} {
		a.want(call{method: "POST", path: "/v1/secrets", body: `{"name":"x","kind":"automatic",` + body + `}`}, 400, "invalid")
	}
}

func TestExpire(t *testing.T) {
	a := newAPI(t)
	a.create("a/b", marker)
	a.want(call{method: "PUT", path: "/v1/secrets/a/b", body: `{"value":"new"}`, header: map[string]string{"If-Match": `"1"`}}, 200, "")
	verify := call{method: "POST", path: "/v1/secrets/a/b/verify", body: `{"value":"` + marker + `"}`}
	if got := a.want(verify, 200, ""); got.json["valid"] != true || got.json["version"] != 1.0 {
		t.Fatalf("%s", got.Body)
	}
	expire := func(body string) call { return call{method: "POST", path: "/v1/secrets/a/b/expire", body: body} }
	for _, body := range []string{`{}`, `{"version":0}`, `{"version":"1"}`, `{"version":2}`, `{"version":1,"grace_secs":-1}`, `{"version":1,"x":1}`, `[]`} {
		a.want(expire(body), 400, "invalid")
	}
	a.want(expire(`{"version":7}`), 404, "not_found")
	if got := a.want(expire(`{"version":1,"grace_secs":30}`), 200, ""); got.json["expires_at"] == nil {
		t.Fatalf("%s", got.Body)
	}
	if got := a.want(verify, 200, ""); got.json["valid"] != true {
		t.Fatalf("%s", got.Body)
	}
	a.want(expire(`{"version":1}`), 200, "")
	if got := a.want(verify, 200, ""); got.json["valid"] != false {
		t.Fatalf("%s", got.Body)
	}
	refused := expire(`{"version":1}`)
	refused.noToken = true
	a.want(refused, 401, "unauthenticated")
}

func TestRotateAndReschedule(t *testing.T) {
	a := newAPI(t)
	first := a.want(call{method: "POST", path: "/v1/secrets", body: automatic}, 201, "")
	rotate := func(body string) call { return call{method: "POST", path: "/v1/secrets/svc/key/rotate", body: body} }
	if got := a.want(rotate(""), 200, ""); got.json["next_rotation_at"] != first.json["next_rotation_at"] {
		t.Errorf("a rotation moved the schedule: %s", got.Body)
	}
	if got := a.want(rotate(`{"reschedule":true}`), 200, ""); got.json["next_rotation_at"] == first.json["next_rotation_at"] {
		t.Errorf("the schedule stayed: %s", got.Body)
	}
	a.want(rotate(`{"reschedule":1}`), 400, "invalid")
	a.want(rotate(`{"schedule":true}`), 400, "invalid")
}

func TestStatus(t *testing.T) {
	a := newAPI(t)
	a.create("a", marker)
	if got := a.want(call{method: "GET", path: "/v1/status", noToken: true}, 200, ""); got.json["secrets"] != 1.0 {
		t.Errorf("%s", got.Body)
	}
	a.want(call{method: "GET", path: "/v1/status", from: outside}, 403, "denied")
	a.want(call{method: "GET", path: "/v1/status?x=1"}, 400, "invalid")
}

func TestEventsAreRefused(t *testing.T) {
	a := newAPI(t)
	a.want(call{method: "GET", path: "/v1/events", from: outside}, 403, "denied")
	for _, path := range []string{"/v1/events?prefix=//", "/v1/events?x=1", "/v1/events?after=1", "/v1/events?after=01-1-1",
		"/v1/events?after=1-1", "/v1/events?after=1-1-1-1", "/v1/events?after=99999999999999999999-1-1"} {
		a.want(call{method: "GET", path: path}, 400, "invalid")
	}
	a.want(call{method: "GET", path: "/v1/events", header: map[string]string{"Last-Event-ID": "abc"}}, 400, "invalid")
	if e := a.recorder.Take(); e[0].Action != vault.ActionWatch || e[0].Outcome != vault.OutcomeDenied {
		t.Errorf("recorded %+v", e[0])
	}
}

func TestEventsAreResumed(t *testing.T) {
	a := newAPI(t)
	a.create("a/1", marker)
	a.create("b/1", marker)
	a.create("a/2", marker)
	got := a.want(call{method: "GET", path: "/v1/events?prefix=a/&after=0-0-0"}, 200, "")
	body := got.Body.String()
	if strings.Count(body, "event: change") != 2 || !strings.Contains(body, `"name":"a/1"`) || !strings.Contains(body, "\nevent: change\ndata: {\"action\":\"create\",\"name\":\"a/2\",\"version\":1,") {
		t.Errorf("%s", body)
	}
	ids := regexp.MustCompile(`id: (\S+)\nevent: change`).FindAllStringSubmatch(body, -1)
	if len(ids) != 2 || !strings.HasPrefix(ids[0][1], "1-1-") || !strings.HasPrefix(ids[1][1], "3-3-") {
		t.Fatalf("%s", body)
	}
	got = a.want(call{method: "GET", path: "/v1/events?after=0-0-0", header: map[string]string{"Last-Event-ID": ids[0][1]}}, 200, "")
	if body := got.Body.String(); strings.Count(body, "event: change") != 2 || strings.Contains(body, "reset") {
		t.Errorf("%s", body)
	}
	if got = a.want(call{method: "GET", path: "/v1/events"}, 200, ""); strings.Contains(got.Body.String(), "change") || !strings.Contains(got.Body.String(), "id: "+ids[1][1]+"\n\n") {
		t.Errorf("%s", got.Body)
	}
	// What cannot be resumed is said: a place of another history, before and after the last one of this.
	for _, id := range []string{"3-3-1", "4-4-1", "999-1-1"} {
		body := a.want(call{method: "GET", path: "/v1/events?after=" + id}, 200, "").Body.String()
		if !strings.Contains(body, "id: "+ids[1][1]+"\nevent: reset\ndata: {") || strings.Contains(body, "event: change") {
			t.Errorf("after %s: %s", id, body)
		}
	}
}

// TestEventStream goes through a real server, whose limits are for ordinary requests.
func TestEventStream(t *testing.T) {
	var bell httpapi.Bell
	closing := make(chan struct{})
	a := newAPI(t, func(c *httpapi.Config) {
		c.Changed, c.Closing, c.MaxStreams, c.WatchPoll, c.RequestTimeout = &bell, closing, 1, time.Hour, 200*time.Millisecond
	})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = inside
		a.ServeHTTP(w, r)
	}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	server.Start()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	get := func() *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/v1/events", nil)
		must(t, err)
		resp, err := server.Client().Do(req)
		must(t, err)
		return resp
	}
	resp := get()
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	until := func(want string) {
		t.Helper()
		for in.Scan() {
			if strings.Contains(in.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, in.Err())
	}
	until("retry: 1000")
	full := get()
	if full.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a second stream: %d", full.StatusCode)
	}
	must(t, full.Body.Close())
	for i := range 3 {
		<-time.After(250 * time.Millisecond) // longer than a request may take
		name := fmt.Sprintf("a/%d", i)
		a.create(name, marker)
		bell.Ring()
		until(`"name":"` + name + `"`)
	}
	close(closing)
	for in.Scan() {
	}
	must(t, in.Err())
}
