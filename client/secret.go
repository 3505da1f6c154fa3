package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Secret is the metadata of a secret.
type Secret struct {
	ID                     string            `json:"id"`
	Name                   string            `json:"name"`
	Kind                   string            `json:"kind"` // "manual" or "automatic"
	ContentType            string            `json:"content_type"`
	Description            string            `json:"description"`
	Tags                   map[string]string `json:"tags"`
	RotationIntervalSecs   int64             `json:"rotation_interval_secs,omitempty"`
	RotationSchedule       string            `json:"rotation_schedule,omitempty"`
	RotationTimeZone       string            `json:"rotation_time_zone,omitempty"`
	RotationWindowSecs     int64             `json:"rotation_window_secs,omitempty"`
	RotationPaused         bool              `json:"rotation_paused,omitempty"`
	GracePeriodSecs        int64             `json:"grace_period_secs"`
	KeepVersions           int               `json:"keep_versions,omitempty"`
	CASRequired            bool              `json:"cas_required,omitempty"`
	DeleteVersionAfterSecs int64             `json:"delete_version_after_secs,omitempty"`
	GeneratePolicy         *GeneratePolicy   `json:"generate_policy,omitempty"`
	FirstVersion           int64             `json:"first_version,omitempty"`
	CurrentVersion         int64             `json:"current_version"`
	SettingsRevision       int64             `json:"settings_revision"`
	NextRotationAt         *time.Time        `json:"next_rotation_at,omitempty"`
	CreatedAt              time.Time         `json:"created_at"`
	UpdatedAt              time.Time         `json:"updated_at"`
}

// GeneratePolicy says what generated values look like.
type GeneratePolicy struct {
	Length    int    `json:"length,omitempty"`
	Lower     *bool  `json:"lower,omitempty"`
	Upper     *bool  `json:"upper,omitempty"`
	Digits    *bool  `json:"digits,omitempty"`
	Symbols   *bool  `json:"symbols,omitempty"`
	Exclude   string `json:"exclude,omitempty"`
	JSONField string `json:"json_field,omitempty"`
	AllowWeak bool   `json:"allow_weak,omitempty"`
}

// Settings are what can be set on a secret beside its value. What is nil keeps what is stored, or has its default.
type Settings struct {
	Description            *string           `json:"description,omitempty"`
	Tags                   map[string]string `json:"tags,omitempty"`
	RotationIntervalSecs   *int64            `json:"rotation_interval_secs,omitempty"`
	RotationSchedule       *string           `json:"rotation_schedule,omitempty"`
	RotationTimeZone       *string           `json:"rotation_time_zone,omitempty"`
	RotationWindowSecs     *int64            `json:"rotation_window_secs,omitempty"`
	RotationPaused         *bool             `json:"rotation_paused,omitempty"`
	GracePeriodSecs        *int64            `json:"grace_period_secs,omitempty"`
	KeepVersions           *int              `json:"keep_versions,omitempty"`
	CASRequired            *bool             `json:"cas_required,omitempty"`
	DeleteVersionAfterSecs *int64            `json:"delete_version_after_secs,omitempty"`
	GeneratePolicy         *GeneratePolicy   `json:"generate_policy,omitempty"`
}

// SettingsChange changes settings. TagsPatch changes single tags, removes those whose value is nil, and keeps the others;
// it does not go together with Tags.
type SettingsChange struct {
	Settings

	TagsPatch map[string]*string `json:"tags_patch,omitempty"`
}

// NewSecret is a secret to create. An automatic one may leave Value out: the vault then generates it.
type NewSecret struct {
	Name         string `json:"name"`
	Kind         string `json:"kind,omitempty"`
	ContentType  string `json:"content_type,omitempty"`
	WithoutValue bool   `json:"without_value,omitempty"` // settings alone; the first Update stores the first value
	Value        []byte `json:"-"`
	Settings
}

// Update is a new version. What is nil keeps what is stored.
type Update struct {
	Value           []byte            `json:"-"`
	Description     *string           `json:"description,omitempty"`
	Tags            map[string]string `json:"tags,omitempty"`
	GracePeriodSecs *int64            `json:"grace_period_secs,omitempty"`
}

// Match names what a change replaces. The change fails with Stale if it is no longer current.
type Match string

// Any matches whatever is current.
const Any Match = "*"

// IfVersion matches a version.
func IfVersion(version int64) Match { return Match(`"` + strconv.FormatInt(version, 10) + `"`) }

// IfUnchanged matches a secret whose version and settings are still those of s.
func IfUnchanged(s Secret) Match {
	return Match(`"` + strconv.FormatInt(s.CurrentVersion, 10) + "." + strconv.FormatInt(s.SettingsRevision, 10) + `"`)
}

// Create stores a new secret. It fails with Exists if there is one of that name. It does not wipe n.Value.
func (c *Client) Create(ctx context.Context, n NewSecret) (*Secret, error) {
	r := change("create "+n.Name, http.MethodPost, "/v1/secrets")
	r.body = withValue(n, n.Value)
	return into[Secret](ctx, c, r)
}

// Get reads the current value. The caller wipes it.
func (c *Client) Get(ctx context.Context, name string) (*Value, error) {
	return c.read(ctx, get("read "+name, "/v1/secrets/"+escapeName(name)))
}

// GetVersion reads one version. The caller wipes it.
func (c *Client) GetVersion(ctx context.Context, name string, version int64) (*Value, error) {
	r := get("read "+name, "/v1/secrets/"+escapeName(name))
	r.query.Set("version", strconv.FormatInt(version, 10))
	return c.read(ctx, r)
}

func (c *Client) read(ctx context.Context, r *call) (*Value, error) {
	w, err := into[wireValue](ctx, c, r)
	if err != nil {
		return nil, err
	}
	v := w.take()
	if v.Bytes == nil {
		return nil, &Error{Op: r.op, Code: Unexpected, Detail: "the answer has no value"}
	}
	return &v, nil
}

// Update stores a new version. It does not wipe u.Value.
func (c *Client) Update(ctx context.Context, name string, m Match, u Update) (*Secret, error) {
	r := change("update "+name, http.MethodPut, "/v1/secrets/"+escapeName(name)).match(m)
	r.body = withValue(u, u.Value)
	return into[Secret](ctx, c, r)
}

// Delete deletes a secret with all of its versions. With destroy it cannot be restored, whatever the server is set to.
func (c *Client) Delete(ctx context.Context, name string, m Match, destroy bool) error {
	r := change("delete "+name, http.MethodDelete, "/v1/secrets/"+escapeName(name)).match(m)
	if destroy {
		r.query.Set("destroy", "true")
	}
	return c.do(ctx, r, nil)
}

// Rotate stores a generated value as a new version. An empty m is Any. With reschedule the next rotation by itself comes
// as if one had been due now.
func (c *Client) Rotate(ctx context.Context, name string, m Match, reschedule bool) (*Secret, error) {
	r := change("rotate "+name, http.MethodPost, "/v1/secrets/"+escapeName(name)+"/rotate").match(m)
	if reschedule {
		r.json(map[string]bool{"reschedule": true})
	}
	return into[Secret](ctx, c, r)
}

// Verdict says whether a candidate is the value of a valid version.
type Verdict struct {
	Valid   bool  `json:"valid"`
	Version int64 `json:"version,omitempty"` // the newest one that equals it
}

// Verify compares a candidate with the current version and those in grace. It does not wipe candidate.
func (c *Client) Verify(ctx context.Context, name string, candidate []byte) (*Verdict, error) {
	r := change("verify "+name, http.MethodPost, "/v1/secrets/"+escapeName(name)+"/verify").again()
	r.read = true
	r.body = withValue(struct{}{}, candidate)
	return into[Verdict](ctx, c, r)
}

// Describe returns the metadata of a secret.
func (c *Client) Describe(ctx context.Context, name string) (*Secret, error) {
	return into[Secret](ctx, c, get("describe "+name, "/v1/metadata/"+escapeName(name)))
}

// Configure changes settings. Get the Match with IfUnchanged.
func (c *Client) Configure(ctx context.Context, name string, m Match, s SettingsChange) (*Secret, error) {
	r := change("configure "+name, http.MethodPatch, "/v1/metadata/"+escapeName(name)).match(m).json(s)
	return into[Secret](ctx, c, r)
}

// MaxBatch is how many names one GetMany may have.
const MaxBatch = 256

// Result is what GetMany has for one name: a value or an error.
type Result struct {
	Value *Value
	Err   error
}

// GetMany reads up to MaxBatch values at once. There is one result for each name, in their order. The caller wipes the
// values.
func (c *Client) GetMany(ctx context.Context, names []string) ([]Result, error) {
	r := change("read secrets", http.MethodPost, "/v1/batch-read").again().json(map[string][]string{"names": names})
	r.read = true
	var answer struct {
		Results []wireValue `json:"results"`
	}
	if err := c.do(ctx, r, &answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != len(names) {
		return nil, &Error{Op: r.op, Code: Unexpected, Detail: "the answer has not one result for each name"}
	}
	out := make([]Result, len(names))
	for i := range answer.Results {
		w := &answer.Results[i]
		if w.Problem != nil {
			out[i].Err = w.Problem.error("read " + names[i])
			continue
		}
		v := w.take()
		out[i].Value = &v
	}
	return out, nil
}

// into sends a call and returns its answer as a T.
func into[T any](ctx context.Context, c *Client, r *call) (*T, error) {
	out := new(T)
	if err := c.do(ctx, r, out); err != nil {
		return nil, err
	}
	return out, nil
}
