package login

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const reviewer = "aaa.bbb.ccc"

// apiServer answers token reviews as a Kubernetes API server does, and takes nothing else.
type apiServer struct {
	*httptest.Server
	t      *testing.T
	alive  map[string]string // token → user name
	bearer string            // who may ask; "" = who holds a token that is alive
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{t: t, alive: map[string]string{}, bearer: reviewer}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if h := s.answer.Load(); h != nil {
			(*h)(w, r)
			return
		}
		s.review(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) review(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, alive := s.alive[bearer]
	var in struct {
		APIVersion, Kind string
		Spec             struct {
			Token     string
			Audiences []string
		}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	switch err := d.Decode(&in); {
	case r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || r.URL.RawQuery != "":
		w.WriteHeader(http.StatusNotFound)
		return
	case !ok, s.bearer == "" && !alive:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)
		return
	case s.bearer != "" && bearer != s.bearer:
		w.WriteHeader(http.StatusForbidden)
		return
	case r.Header.Get("Content-Type") != "application/json":
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	case err != nil || in.APIVersion != "authentication.k8s.io/v1" || in.Kind != "TokenReview" || in.Spec.Token == "":
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status := map[string]any{"user": map[string]any{}, "error": "[invalid bearer token, service account token has been invalidated]"}
	if user, ok := s.alive[in.Spec.Token]; ok && slices.Contains(in.Spec.Audiences, "vault") {
		status = map[string]any{"authenticated": true, "audiences": []string{"vault"}, "user": map[string]any{
			"username": user, "uid": "b0d6", "groups": []string{"system:serviceaccounts", "system:authenticated"},
			"extra": map[string]any{"authentication.kubernetes.io/pod-name": []string{"web-0"}},
		}}
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": map[string]any{"creationTimestamp": nil},
		"spec": in.Spec, "status": status,
	})
}

func (s *apiServer) method(key jose.JSONWebKey, file string) vault.LoginMethod {
	keys := newKeyServer(s.t, true, key)
	c := map[string]any{
		"issuer": "https://issuer.example", "jwks_url": keys.URL, "ca_pem": keys.caPEM() + (&keyServer{Server: s.Server}).caPEM(),
		"token_review_url": s.URL,
	}
	if file != "" {
		c["token_review_token_file"] = file
	}
	return vault.LoginMethod{Mount: "kubernetes", Kind: vault.LoginJWT, Revision: 1, Config: config(s.t, c)}
}

func TestTokenReview(t *testing.T) {
	key := edKey(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(reviewer+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newAPIServer(t)
	m := s.method(jwk("1", key), file)
	v := New(Config{Clock: newClock().now, LocalKeys: true})
	good := signed(t, jose.EdDSA, key, "1", goodClaims())
	login := func(raw string) error {
		_, err := v.JWT(t.Context(), m, goodRole(t), raw)
		return err
	}
	set := func(t *testing.T, h http.HandlerFunc) {
		s.answer.Store(&h)
		t.Cleanup(func() { s.answer.Store(nil) })
	}
	plain := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = io.WriteString(w, text) }
	}
	const vouched = `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,"user":{"username":"system:serviceaccount:shop:web"}`

	t.Run("ErrDeletedPod", func(t *testing.T) {
		if cause := causeOf(t, login(good)); cause != vault.CauseLoginReview {
			t.Errorf("refused for %q", cause)
		}
	})
	s.alive[good] = "system:serviceaccount:shop:web"
	t.Run("OK", func(t *testing.T) {
		if err := login(good); err != nil {
			t.Error(err)
		}
	})
	t.Run("ErrSignatureIsNotAsked", func(t *testing.T) {
		before := s.asked.Load()
		if cause := causeOf(t, login(signed(t, jose.EdDSA, edKey(t), "1", goodClaims()))); cause != vault.CauseLoginSignature || s.asked.Load() != before {
			t.Errorf("refused for %q, asked %d times", cause, s.asked.Load()-before)
		}
	})
	for name, text := range map[string]string{
		"ErrNoAudiences":   vouched + `}}`,
		"ErrOtherAudience": vouched + `,"audiences":["other"]}}`,
		"ErrOtherUser":     strings.Replace(vouched, "shop:web", "shop:other", 1) + `,"audiences":["vault"]}}`,
		"ErrNotOne":        strings.Replace(vouched, "true", "false", 1) + `,"audiences":["vault"]}}`,
		"ErrNoStatus":      `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			set(t, plain(201, text))
			if cause := causeOf(t, login(good)); cause != vault.CauseLoginReview {
				t.Errorf("refused for %q", cause)
			}
		})
	}
	for name, h := range map[string]http.HandlerFunc{
		"ErrForbidden":    plain(403, "{}"),
		"ErrUnauthorized": plain(401, "{}"),
		"ErrFailing":      plain(500, "no"),
		"ErrRedirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
		},
		"ErrOtherKind":    plain(201, strings.Replace(vouched, "TokenReview", "Status", 1)+`,"audiences":["vault"]}}`),
		"ErrOtherVersion": plain(201, strings.Replace(vouched, "io/v1", "io/v1beta1", 1)+`,"audiences":["vault"]}}`),
		"ErrNoJSON":       plain(201, "yes"),
		"ErrLong":         plain(201, strings.Repeat(" ", maxFetched+1)),
		"ErrCut":          func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			set(t, h)
			err := login(good)
			if core.CodeOf(err) != core.Unavailable || strings.Contains(err.Error(), good) || strings.Contains(err.Error(), reviewer) {
				t.Errorf("answered %v", err)
			}
		})
	}
	t.Run("ErrNoLocalFiles", func(t *testing.T) {
		v := New(Config{Clock: newClock().now})
		if _, err := v.JWT(t.Context(), m, goodRole(t), good); core.CodeOf(err) != core.Unavailable {
			t.Errorf("answered %v", err)
		}
	})
	t.Run("OwnToken", func(t *testing.T) {
		s.bearer = ""
		m = s.method(jwk("1", key), "")
		if err := login(good); err != nil {
			t.Error(err)
		}
		delete(s.alive, good)
		if cause := causeOf(t, login(good)); cause != vault.CauseLoginReview {
			t.Errorf("refused for %q", cause)
		}
	})
}

func TestTokenReviewSettings(t *testing.T) {
	for _, c := range []struct {
		url, file string
		ok        bool
	}{
		{"https://kubernetes.default.svc", "", true},
		{"https://kubernetes.default.svc/", "/var/run/secrets/kubernetes.io/serviceaccount/token", true},
		{"", "/token", false},
		{"http://kubernetes.default.svc", "", false},
		{"https://u:p@kubernetes.default.svc", "", false},
		{"https://kubernetes.default.svc?x=y", "", false},
		{"file:///etc/passwd", "", false},
		{"https://kubernetes.default.svc", "token", false},
		{"https://kubernetes.default.svc", "/a/../token", false},
	} {
		if err := checkReview(c.url, c.file); (err == nil) != c.ok || err != nil && core.CodeOf(err) != core.Invalid {
			t.Errorf("%q, %q: %v", c.url, c.file, err)
		}
	}
}
