package clienttest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/client"
)

// route serves everything but streams.
func (s *Server) route(r *http.Request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.Path
	if name, ok := strings.CutPrefix(path, "/v1/secrets/"); ok {
		return s.routeSecret(r, name)
	}
	if name, ok := strings.CutPrefix(path, "/v1/metadata/"); ok && (r.Method == http.MethodGet || r.Method == http.MethodPatch) {
		return s.with(name, func(sec *secret) answer { return s.metadata(r, sec) })
	}
	if name, ok := strings.CutPrefix(path, "/v1/versions/"); ok && r.Method == http.MethodGet {
		return s.with(name, versions)
	}
	switch r.Method + " " + path {
	case "POST /v1/secrets":
		return s.createSecret(r)
	case "GET /v1/secrets":
		return s.list(r)
	case "POST /v1/batch-read":
		return s.batch(r)
	}
	return s.notServed(r)
}

func (s *Server) notServed(r *http.Request) answer {
	s.t.Errorf("clienttest does not serve %s %s", r.Method, r.URL.Path)
	return problem(http.StatusNotImplemented, "internal", "clienttest does not serve this")
}

// with finds the secret that a path names.
func (s *Server) with(name string, f func(*secret) answer) answer {
	if !validName(name) {
		return invalid("the name is not valid")
	}
	if sec := s.secrets[name]; sec != nil {
		return f(sec)
	}
	return problem(http.StatusNotFound, "not_found", "no such secret")
}

func (s *Server) routeSecret(r *http.Request, name string) answer {
	if r.Method == http.MethodPost {
		at := strings.LastIndexByte(name, '/')
		if at < 0 {
			return s.notServed(r)
		}
		switch operation := name[at+1:]; operation {
		case "rotate":
			return s.with(name[:at], func(sec *secret) answer { return s.rotate(r, sec) })
		case "verify":
			return s.with(name[:at], func(sec *secret) answer { return verifyAnswer(r, sec) })
		}
		return s.notServed(r)
	}
	switch r.Method {
	case http.MethodGet:
		return s.with(name, func(sec *secret) answer { return read(r, sec) })
	case http.MethodPut:
		return s.with(name, func(sec *secret) answer { return s.update(r, sec) })
	case http.MethodDelete:
		return s.with(name, func(sec *secret) answer {
			if a, ok := matches(r, sec, true, false); !ok {
				return a
			}
			s.remove(sec)
			return answer{status: http.StatusNoContent}
		})
	}
	return s.notServed(r)
}

func tagged(sec *secret, status int) answer {
	return answer{status: status, body: sec.Secret, header: map[string]string{"ETag": string(client.IfVersion(sec.CurrentVersion))}}
}

func (s *Server) createSecret(r *http.Request) answer {
	var n newSecret
	if err := decode(r, &n); err != nil {
		return invalid("%v", err)
	}
	if n.Kind == "" {
		n.Kind = "manual"
	}
	switch {
	case !validName(n.Name):
		return invalid("the name is not valid")
	case n.Kind != "manual" && n.Kind != "automatic":
		return invalid("the kind is manual or automatic")
	case n.WithoutValue:
		s.t.Error("clienttest does not serve secrets without a value")
		return problem(http.StatusNotImplemented, "internal", "clienttest does not serve this")
	case s.secrets[n.Name] != nil:
		return problem(http.StatusConflict, "exists", "a secret of this name exists")
	}
	value, ok := valueOf(n.Value, n.Base64)
	if n.Value == nil && n.Base64 == nil && n.Kind == "automatic" {
		value, ok = generated(n.GeneratePolicy), true
	}
	if !ok {
		return invalid("exactly one of value and value_base64 is needed, and it may not be empty")
	}
	return tagged(s.create(n, value), http.StatusCreated)
}

func read(r *http.Request, sec *secret) answer {
	wanted := sec.CurrentVersion
	if text := r.URL.Query().Get("version"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return invalid("the version is a number")
		}
		wanted = n
	}
	for _, v := range sec.versions {
		if v.number == wanted {
			return answer{status: http.StatusOK, body: valueAnswer(sec, v)}
		}
	}
	return problem(http.StatusNotFound, "not_found", "no such version")
}

func (s *Server) update(r *http.Request, sec *secret) answer {
	if a, ok := matches(r, sec, true, false); !ok {
		return a
	}
	var u update
	if err := decode(r, &u); err != nil {
		return invalid("%v", err)
	}
	value, ok := valueOf(u.Value, u.Base64)
	if !ok {
		return invalid("exactly one of value and value_base64 is needed, and it may not be empty")
	}
	set(&sec.Description, u.Description)
	set(&sec.GracePeriodSecs, u.GracePeriodSecs)
	if u.Tags != nil {
		sec.Tags = u.Tags
	}
	s.addVersion(sec, value, "update")
	return tagged(sec, http.StatusOK)
}

func (s *Server) rotate(r *http.Request, sec *secret) answer {
	if a, ok := matches(r, sec, false, false); !ok {
		return a
	}
	if sec.Kind == "manual" && sec.GeneratePolicy == nil {
		return invalid("a manual secret without a generate_policy cannot be rotated")
	}
	s.addVersion(sec, generated(sec.GeneratePolicy), "rotate")
	return tagged(sec, http.StatusOK)
}

func verifyAnswer(r *http.Request, sec *secret) answer {
	var u update
	if err := decode(r, &u); err != nil {
		return invalid("%v", err)
	}
	candidate, ok := valueOf(u.Value, u.Base64)
	if !ok {
		return invalid("exactly one of value and value_base64 is needed, and it may not be empty")
	}
	return answer{status: http.StatusOK, body: verify(sec, candidate)}
}

func (s *Server) metadata(r *http.Request, sec *secret) answer {
	if r.Method == http.MethodPatch {
		if a, ok := matches(r, sec, true, true); !ok {
			return a
		}
		var c settings
		if err := decode(r, &c); err != nil {
			return invalid("%v", err)
		}
		configure(sec, c.SettingsChange)
		sec.SettingsRevision++
		sec.UpdatedAt = now()
	}
	return answer{status: http.StatusOK, body: sec.Secret, header: map[string]string{"ETag": string(client.IfUnchanged(sec.Secret))}}
}

func versions(sec *secret) answer {
	list := []map[string]any{}
	for i := len(sec.versions) - 1; i >= 0; i-- {
		list = append(list, map[string]any{"version": sec.versions[i].number, "created_at": sec.versions[i].at, "envelope_version": 1, "kms_key_id": "clienttest"})
	}
	return answer{status: http.StatusOK, body: map[string]any{"name": sec.Name, "versions": list}}
}

func (s *Server) list(r *http.Request) answer {
	q := r.URL.Query()
	limit := 100
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return invalid("the limit is 1 to 1000")
		}
		limit = n
	}
	body := map[string]any{}
	names := s.names(q.Get("prefix"), q.Get("after"))
	if len(names) > limit {
		names = names[:limit]
		body["next"] = names[limit-1]
	}
	found := []client.Secret{}
	for _, name := range names {
		found = append(found, s.secrets[name].Secret)
	}
	body["secrets"] = found
	return answer{status: http.StatusOK, body: body}
}

func (s *Server) batch(r *http.Request) answer {
	var body struct {
		Names []string `json:"names"`
	}
	if err := decode(r, &body); err != nil {
		return invalid("%v", err)
	}
	if len(body.Names) < 1 || len(body.Names) > client.MaxBatch {
		return invalid("1 to %d names", client.MaxBatch)
	}
	results := []any{}
	for _, name := range body.Names {
		a := s.with(name, func(sec *secret) answer {
			return answer{status: http.StatusOK, body: valueAnswer(sec, sec.versions[len(sec.versions)-1])}
		})
		if a.status != http.StatusOK {
			a.body = map[string]any{"name": name, "problem": a.body}
		}
		results = append(results, a.body)
	}
	return answer{status: http.StatusOK, body: map[string]any{"results": results}}
}
