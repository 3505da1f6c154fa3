package httpapi

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

var (
	createFields = []string{"name", "kind", "content_type", "value", "value_base64", "description", "tags",
		"rotation_interval_secs", "rotation_schedule", "rotation_time_zone", "rotation_window_secs", "rotation_paused",
		"grace_period_secs", "keep_versions", "generate_policy", "cas_required", "delete_version_after_secs", "without_value"}
	updateFields = []string{"value", "value_base64", "description", "tags", "grace_period_secs"}
	verifyFields = []string{"value", "value_base64"}
	rotateFields = []string{"reschedule"}
)

// decodeCreate returns what could be read even with an error, so that the refusal
// can be recorded under the name. The caller wipes the Value.
func decodeCreate(body []byte) (r vault.CreateRequest, err error) {
	o, err := parseObject(body, createFields)
	if err != nil {
		return r, err
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{"name", &r.Name}, {"kind", &r.Kind}, {"content_type", &r.ContentType}, {"description", &r.Description},
		{"rotation_schedule", &r.Rotation.Schedule}, {"rotation_time_zone", &r.Rotation.TimeZone}} {
		if *f.to, err = o.text(f.name); err != nil {
			return r, err
		}
	}
	if err = o.notEmpty("kind", "content_type", "rotation_schedule", "rotation_time_zone"); err != nil {
		return r, err
	}
	if err = decodeNumbers(o, &r); err != nil {
		return r, err
	}
	if r.Tags, err = o.tags(); err != nil {
		return r, err
	}
	if r.GeneratePolicy, err = o.policy(); err != nil {
		return r, err
	}
	r.Value, err = o.value()
	return r, err
}

func decodeNumbers(o object, r *vault.CreateRequest) (err error) {
	for _, f := range []struct {
		name string
		to   *int64
	}{{"rotation_interval_secs", &r.RotationIntervalSecs}, {"grace_period_secs", &r.GracePeriodSecs},
		{"rotation_window_secs", &r.Rotation.WindowSecs}, {"delete_version_after_secs", &r.DeleteVersionAfterSecs}} {
		if *f.to, err = o.integer(f.name); err != nil {
			return err
		}
	}
	if r.Rotation.KeepVersions, err = o.small("keep_versions"); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		to   *bool
	}{{"rotation_paused", &r.Rotation.Paused}, {"cas_required", &r.CASRequired}, {"without_value", &r.WithoutValue}} {
		if *f.to, err = o.boolean(f.name); err != nil {
			return err
		}
	}
	return nil
}

func decodeUpdate(body []byte) (r vault.UpdateRequest, err error) {
	o, err := parseObject(body, updateFields)
	if err != nil {
		return r, err
	}
	if _, given := o["description"]; given {
		text, err := o.text("description")
		if err != nil {
			return r, err
		}
		r.Description = &text
	}
	if _, given := o["grace_period_secs"]; given {
		secs, err := o.integer("grace_period_secs")
		if err != nil {
			return r, err
		}
		r.GracePeriodSecs = &secs
	}
	if r.Tags, err = o.tags(); err != nil {
		return r, err
	}
	if r.Value, err = o.value(); err == nil && r.Value == nil {
		err = core.Errorf(core.Invalid, "value or value_base64 is required")
	}
	return r, err
}

func decodeVerify(body []byte) ([]byte, error) {
	o, err := parseObject(body, verifyFields)
	if err != nil {
		return nil, err
	}
	v, err := o.value()
	if err == nil && v == nil {
		err = core.Errorf(core.Invalid, "value or value_base64 is required")
	}
	return v, err
}

// decodeRotate accepts no body as well.
func decodeRotate(body []byte) (r vault.RotateRequest, err error) {
	if len(body) == 0 {
		return r, nil
	}
	o, err := parseObject(body, rotateFields)
	if err == nil {
		r.Reschedule, err = o.boolean("reschedule")
	}
	return r, err
}

// value returns the bytes of value or value_base64, nil when neither is there.
func (o object) value() ([]byte, error) {
	text, isText := o["value"]
	coded, isCoded := o["value_base64"]
	switch {
	case isText && isCoded:
		return nil, core.Errorf(core.Invalid, "value and value_base64 exclude each other")
	case isText:
		return o.bytes("value", text)
	case isCoded:
		return o.base64("value_base64", coded)
	}
	return nil, nil
}

// base64 reads standard base64 in its one spelling: padded, no line breaks.
func (o object) base64(field string, raw []byte) ([]byte, error) {
	coded, err := o.bytes(field, raw)
	if err != nil {
		return nil, err
	}
	defer envelope.Wipe(coded)
	out := make([]byte, base64.StdEncoding.DecodedLen(len(coded)))
	n, err := base64.StdEncoding.Strict().Decode(out, coded)
	// The decoder skips line breaks, so the length is compared as well.
	if err != nil || base64.StdEncoding.EncodedLen(n) != len(coded) {
		envelope.Wipe(out)
		return nil, core.Errorf(core.Invalid, "%s is not standard padded base64", field)
	}
	return out[:n], nil
}

// tags returns nil when there are none given.
func (o object) tags() (map[string]string, error) {
	raw, ok := o["tags"]
	if !ok {
		return nil, nil
	}
	if raw[0] != '{' {
		return nil, core.Errorf(core.Invalid, "tags must be an object of strings")
	}
	fields, err := parseObject(raw, nil)
	if err != nil {
		return nil, core.Wrap(core.Invalid, err, "tags: %s", core.MessageOf(err))
	}
	tags := make(map[string]string, len(fields))
	for k := range fields {
		if tags[k], err = fields.text(k); err != nil {
			return nil, core.Wrap(core.Invalid, err, "tags must be an object of strings")
		}
	}
	return tags, nil
}

// tagsPatch reads an object of strings, and of nulls for what is to be removed.
func (o object) tagsPatch() (map[string]*string, error) {
	raw, ok := o["tags_patch"]
	if !ok {
		return nil, nil
	}
	if raw[0] != '{' {
		return nil, core.Errorf(core.Invalid, "tags_patch must be an object of strings and nulls")
	}
	fields, err := parseObject(raw, nil)
	if err != nil {
		return nil, core.Wrap(core.Invalid, err, "tags_patch: %s", core.MessageOf(err))
	}
	tags := make(map[string]*string, len(fields))
	for k, v := range fields {
		if string(v) == "null" {
			tags[k] = nil
			continue
		}
		text, err := fields.text(k)
		if err != nil {
			return nil, core.Wrap(core.Invalid, err, "tags_patch must be an object of strings and nulls")
		}
		tags[k] = &text
	}
	return tags, nil
}

func (o object) policy() (*generate.Policy, error) {
	raw, ok := o["generate_policy"]
	if !ok {
		return nil, nil
	}
	if raw[0] != '{' {
		return nil, core.Errorf(core.Invalid, "generate_policy must be an object")
	}
	p, err := generate.Parse(raw)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// query returns the parameters of the request: only known ones, each once.
func query(r *http.Request, known ...string) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "the query cannot be read")
	}
	for k, v := range q {
		if !slices.Contains(known, k) {
			return nil, core.Errorf(core.Invalid, "unknown query parameter %s", core.Quote(k))
		}
		if len(v) != 1 {
			return nil, core.Errorf(core.Invalid, "query parameter %s is given twice", k)
		}
	}
	return q, nil
}

// versionQuery returns the version asked for, 0 for the current one.
func versionQuery(r *http.Request) (uint64, error) {
	q, err := query(r, "version")
	if err != nil || !q.Has("version") {
		return 0, err
	}
	return parseVersion(q.Get("version"))
}

func listQuery(r *http.Request) (prefix, after string, limit int, err error) {
	q, err := query(r, "prefix", "after", "limit")
	if err != nil {
		return "", "", 0, err
	}
	prefix, after = q.Get("prefix"), q.Get("after")
	if q.Has("limit") {
		limit, err = strconv.Atoi(q.Get("limit"))
		if err != nil || limit < 1 || limit > vault.MaxPageSize {
			return prefix, after, 0, core.Errorf(core.Invalid, "limit must be a whole number from 1 to %d", vault.MaxPageSize)
		}
	}
	return prefix, after, limit, nil
}
