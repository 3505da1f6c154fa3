package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// secretBody is the metadata of a secret as JSON.
type secretBody struct {
	ID                   core.SecretID     `json:"id"`
	Name                 core.Name         `json:"name"`
	Kind                 core.Kind         `json:"kind"`
	ContentType          core.ContentType  `json:"content_type"`
	Description          string            `json:"description"`
	Tags                 map[string]string `json:"tags"`
	RotationIntervalSecs int64             `json:"rotation_interval_secs,omitempty"`
	RotationSchedule     string            `json:"rotation_schedule,omitempty"`
	RotationTimeZone     string            `json:"rotation_time_zone,omitempty"`
	RotationWindowSecs   int64             `json:"rotation_window_secs,omitempty"`
	RotationPaused       bool              `json:"rotation_paused,omitempty"`
	GracePeriodSecs      int64             `json:"grace_period_secs"`
	KeepVersions         int               `json:"keep_versions"`
	CASRequired          bool              `json:"cas_required"`
	DeleteAfterSecs      int64             `json:"delete_version_after_secs,omitempty"`
	GeneratePolicy       *generate.Policy  `json:"generate_policy,omitempty"`
	FirstVersion         uint64            `json:"first_version,omitempty"`
	CurrentVersion       uint64            `json:"current_version"`
	SettingsRevision     uint64            `json:"settings_revision"`
	NextRotationAt       *time.Time        `json:"next_rotation_at,omitempty"`
	CreatedAt            time.Time         `json:"created_at"`
	UpdatedAt            time.Time         `json:"updated_at"`
}

func bodyOf(s vault.Secret) secretBody {
	tags := s.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	zone := s.Rotation.TimeZone
	if s.Rotation.Schedule == "" {
		zone = ""
	}
	return secretBody{
		RotationSchedule: s.Rotation.Schedule, RotationTimeZone: zone, RotationWindowSecs: s.Rotation.WindowSecs,
		RotationPaused: s.Rotation.Paused, KeepVersions: s.Rotation.KeepVersions,
		ID: s.ID, Name: s.Name, Kind: s.Kind, ContentType: s.ContentType, Description: s.Description, Tags: tags,
		RotationIntervalSecs: s.RotationIntervalSecs, GracePeriodSecs: s.GracePeriodSecs, GeneratePolicy: s.GeneratePolicy,
		CASRequired: s.CASRequired, DeleteAfterSecs: s.DeleteVersionAfterSecs, FirstVersion: s.FirstVersion,
		CurrentVersion: s.CurrentVersion, SettingsRevision: s.SettingsRevision, NextRotationAt: orNil(s.NextRotationAt),
		CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(),
	}
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

type listBody struct {
	Secrets []any  `json:"secrets"` // secretBody; failedName for what is corrupt
	Next    string `json:"next,omitempty"`
}

type versionBody struct {
	Version         uint64     `json:"version"`
	EnvelopeVersion int16      `json:"envelope_version,omitempty"` // of a destroyed version nothing is known of how it was sealed
	KMSKeyID        string     `json:"kms_key_id,omitempty"`
	CreatedAt       time.Time  `json:"created_at"`
	ExpiresAt       *time.Time `json:"expires_at,omitempty"`
	DeleteAt        *time.Time `json:"delete_at,omitempty"`
	DeletedAt       *time.Time `json:"deleted_at,omitempty"`
	DestroyedAt     *time.Time `json:"destroyed_at,omitempty"`
}

func versionBodyOf(v vault.VersionInfo) versionBody {
	return versionBody{
		Version: v.Version, EnvelopeVersion: v.EnvelopeVersion, KMSKeyID: v.KMSKeyID,
		CreatedAt: v.CreatedAt.UTC(), ExpiresAt: orNil(v.ExpiresAt), DeleteAt: orNil(v.DeleteAt), DeletedAt: orNil(v.DeletedAt),
		DestroyedAt: orNil(v.DestroyedAt),
	}
}

type versionsBody struct {
	Name     string        `json:"name"`
	Versions []versionBody `json:"versions"`
}

type verdictBody struct {
	Valid   bool   `json:"valid"`
	Version uint64 `json:"version,omitempty"`
}

// answer sends v as JSON. v holds no secret value.
func (s *server) answer(c *gin.Context, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return core.Wrap(core.Internal, err, "encode the answer")
	}
	send(c, status, body)
	return nil
}

// answerNothing answers a change that has nothing to show.
func answerNothing(c *gin.Context) error {
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// countedByServer is the longest body whose length net/http puts into the header by itself.
const countedByServer = 2048

func send(c *gin.Context, status int, body []byte) {
	h := c.Writer.Header()
	h["Content-Type"] = isJSON
	if len(body) > countedByServer {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	c.Writer.WriteHeader(status)
	_, _ = c.Writer.Write(body)
}

// answerValue sends a value, and wipes the buffer it was put together in.
func (s *server) answerValue(c *gin.Context, v vault.Value) error {
	body := appendValue(make([]byte, 0, valueRoom(&v)), &v)
	defer envelope.Wipe(body)
	if v.Version == v.CurrentVersion {
		c.Writer.Header()["Etag"] = []string{etag(v.Version)}
	}
	send(c, http.StatusOK, body)
	return nil
}

// valueRoom is enough for appendValue: a buffer that is outgrown would stay unwiped.
func valueRoom(v *vault.Value) int {
	const fields = len(`{"name":,"kind":,"content_type":,"version":,"current_version":,"created_at":"","expires_at":"","value_base64":""}`)
	n := fields + 2*len("18446744073709551615") + 2*len(time.RFC3339Nano)
	n += jsonscan.QuotedLen(string(v.Name)) + jsonscan.QuotedLen(string(v.Kind)) + jsonscan.QuotedLen(string(v.ContentType))
	if v.ContentType.IsText() && utf8.Valid(v.Plain) {
		return n + jsonscan.QuotedLen(v.Plain)
	}
	return n + base64.StdEncoding.EncodedLen(len(v.Plain))
}

// appendValue appends a value as a JSON object. By hand: an encoder would leave copies of the value.
func appendValue(dst []byte, v *vault.Value) []byte {
	dst = jsonscan.AppendQuoted(append(dst, `{"name":`...), string(v.Name))
	dst = jsonscan.AppendQuoted(append(dst, `,"kind":`...), string(v.Kind))
	dst = jsonscan.AppendQuoted(append(dst, `,"content_type":`...), string(v.ContentType))
	dst = strconv.AppendUint(append(dst, `,"version":`...), v.Version, 10)
	dst = strconv.AppendUint(append(dst, `,"current_version":`...), v.CurrentVersion, 10)
	dst = appendTime(append(dst, `,"created_at":`...), v.CreatedAt)
	if !v.ExpiresAt.IsZero() {
		dst = appendTime(append(dst, `,"expires_at":`...), v.ExpiresAt)
	}
	if v.ContentType.IsText() && utf8.Valid(v.Plain) {
		dst = jsonscan.AppendQuoted(append(dst, `,"value":`...), v.Plain)
	} else {
		dst = append(dst, `,"value_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, v.Plain)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func appendTime(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(append(dst, '"'), time.RFC3339Nano)
	return append(dst, '"')
}
