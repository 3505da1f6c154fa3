package clienttest

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/client"
)

// secret is one with its versions, the current one last.
type secret struct {
	client.Secret
	versions []version
}

type version struct {
	number int64
	value  []byte
	at     time.Time
}

type settings struct {
	client.SettingsChange
}

type newSecret struct {
	Name         string  `json:"name"`
	Kind         string  `json:"kind"`
	ContentType  string  `json:"content_type"`
	WithoutValue bool    `json:"without_value"`
	Value        *string `json:"value"`
	Base64       []byte  `json:"value_base64"`
	client.Settings
}

type update struct {
	Value           *string           `json:"value"`
	Base64          []byte            `json:"value_base64"`
	Description     *string           `json:"description"`
	Tags            map[string]string `json:"tags"`
	GracePeriodSecs *int64            `json:"grace_period_secs"`
}

// valueOf returns the one value that a body has.
func valueOf(text *string, bin []byte) ([]byte, bool) {
	switch {
	case (text != nil) == (bin != nil):
		return nil, false
	case text != nil:
		return []byte(*text), *text != ""
	}
	return bin, len(bin) > 0
}

// validName reports whether s is a name of a secret, by the rules of the vault.
func validName(s string) bool {
	if len(s) > 255 {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(segment, nameBytes) != "" {
			return false
		}
	}
	return true
}

const nameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

func (s *Server) create(n newSecret, value []byte) *secret {
	sec := &secret{Secret: client.Secret{
		ID: newID(), Name: n.Name, Kind: n.Kind, ContentType: n.ContentType, Tags: map[string]string{}, SettingsRevision: 1,
		CreatedAt: now(), FirstVersion: s.lastVersion[n.Name] + 1, CurrentVersion: s.lastVersion[n.Name],
	}}
	if sec.ContentType == "" {
		sec.ContentType = "text/plain; charset=utf-8"
	}
	configure(sec, client.SettingsChange{Settings: n.Settings})
	s.secrets[n.Name] = sec
	s.addVersion(sec, value, "create")
	return sec
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Server) addVersion(sec *secret, value []byte, action string) {
	sec.CurrentVersion++
	sec.UpdatedAt = now()
	sec.versions = append(sec.versions, version{number: sec.CurrentVersion, value: bytes.Clone(value), at: sec.UpdatedAt})
	s.record(action, sec)
}

func (s *Server) remove(sec *secret) {
	s.lastVersion[sec.Name] = sec.CurrentVersion
	delete(s.secrets, sec.Name)
	s.record("delete", sec)
}

func configure(sec *secret, c client.SettingsChange) {
	set(&sec.Description, c.Description)
	set(&sec.RotationIntervalSecs, c.RotationIntervalSecs)
	set(&sec.RotationSchedule, c.RotationSchedule)
	set(&sec.RotationTimeZone, c.RotationTimeZone)
	set(&sec.RotationWindowSecs, c.RotationWindowSecs)
	set(&sec.RotationPaused, c.RotationPaused)
	set(&sec.GracePeriodSecs, c.GracePeriodSecs)
	set(&sec.KeepVersions, c.KeepVersions)
	set(&sec.CASRequired, c.CASRequired)
	set(&sec.DeleteVersionAfterSecs, c.DeleteVersionAfterSecs)
	if c.GeneratePolicy != nil {
		sec.GeneratePolicy = c.GeneratePolicy
	}
	if c.Tags != nil {
		sec.Tags = c.Tags
	}
	for tag, value := range c.TagsPatch {
		if value == nil {
			delete(sec.Tags, tag)
		} else {
			sec.Tags[tag] = *value
		}
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// decode reads a body that is one JSON object without unknown fields.
func decode(r *http.Request, into any) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" {
		return fmt.Errorf("the content type must be application/json")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("the body is not one JSON object")
	}
	return nil
}

// matches checks If-Match against a secret; with metadata it also checks the revision of the settings.
func matches(r *http.Request, sec *secret, required, metadata bool) (answer, bool) {
	v := r.Header.Get("If-Match")
	switch {
	case v == "" && required:
		return problem(http.StatusPreconditionRequired, "precondition_required", "If-Match is required"), false
	case v == "":
		return answer{}, true
	case v == "*" && sec.CASRequired && r.Method == http.MethodPut:
		return problem(http.StatusPreconditionRequired, "precondition_required", "the secret wants the version that is replaced"), false
	case v == "*":
		return answer{}, true
	case len(v) < 3 || v[0] != '"' || v[len(v)-1] != '"':
		return invalid("If-Match is not valid"), false
	}
	number, revision, dotted := strings.Cut(v[1:len(v)-1], ".")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return invalid("If-Match is not valid"), false
	}
	stale := n != sec.CurrentVersion
	if dotted && metadata {
		stale = stale || revision != strconv.FormatInt(sec.SettingsRevision, 10)
	}
	if stale {
		return problem(http.StatusPreconditionFailed, "stale", "the secret has changed"), false
	}
	return answer{}, true
}

// valueAnswer is how the API shows a version.
func valueAnswer(sec *secret, v version) map[string]any {
	out := map[string]any{
		"name": sec.Name, "kind": sec.Kind, "content_type": sec.ContentType, "version": v.number,
		"current_version": sec.CurrentVersion, "created_at": v.at,
	}
	if isText(sec.ContentType) && utf8.Valid(v.value) {
		out["value"] = string(v.value)
	} else {
		out["value_base64"] = base64.StdEncoding.EncodeToString(v.value)
	}
	return out
}

func isText(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.HasPrefix(kind, "text/") || kind == "application/json" || strings.HasSuffix(kind, "+json")
}

func generated(p *client.GeneratePolicy) []byte {
	n := 32
	if p != nil && p.Length > 0 {
		n = p.Length
	}
	text := ""
	for len(text) < n {
		text += rand.Text()
	}
	return []byte(text[:n])
}

// verify compares a candidate with the current version: the server has no grace.
func verify(sec *secret, candidate []byte) map[string]any {
	current := sec.versions[len(sec.versions)-1]
	if subtle.ConstantTimeCompare(current.value, candidate) == 1 {
		return map[string]any{"valid": true, "version": current.number}
	}
	return map[string]any{"valid": false}
}

// names returns the names that a prefix selects, in byte order, after one.
func (s *Server) names(prefix, after string) []string {
	var out []string
	for name := range s.secrets {
		if name > after && selects(prefix, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// selects reports whether a prefix of whole segments selects a name.
func selects(prefix, name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && (prefix == "" || strings.HasSuffix(prefix, "/") && rest != "" || rest == "" || rest[0] == '/')
}
