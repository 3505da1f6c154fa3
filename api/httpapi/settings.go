package httpapi

import (
	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

var (
	configureFields = []string{"description", "tags", "rotation_interval_secs", "rotation_schedule", "rotation_time_zone",
		"rotation_window_secs", "rotation_paused", "grace_period_secs", "keep_versions", "generate_policy", "cas_required",
		"delete_version_after_secs", "tags_patch"}
	expireFields = []string{"version", "grace_secs"}
)

func (s *server) configure(c *gin.Context) error {
	name := nameOf(c)
	body, err := s.readJSON(c, vault.ActionConfigure)
	defer func() { envelope.Wipe(body) }()
	r := vault.ConfigureRequest{Name: name}
	if err == nil {
		r.Settings, err = decodeSettings(body)
	}
	if err == nil {
		_, err = query(c.Request)
	}
	if err == nil {
		var m match
		m, err = expected(c.Request.Header, true)
		r.Expected, r.Revision = m.version, m.revision
	}
	if err != nil {
		return s.reject(c, vault.ActionConfigure, name, err)
	}
	made, err := s.Vault.Configure(c.Request.Context(), callerOf(c), r)
	if err != nil {
		return err
	}
	return s.answerMetadata(c, made)
}

// decodeSettings returns the fields that are given; the others stay as they are.
func decodeSettings(body []byte) (out vault.Settings, err error) {
	o, err := parseObject(body, configureFields)
	if err != nil {
		return out, err
	}
	if len(o) == 0 {
		return out, core.Errorf(core.Invalid, "no setting is given")
	}
	for field, to := range map[string]**string{
		"description": &out.Description, "rotation_schedule": &out.RotationSchedule, "rotation_time_zone": &out.RotationTimeZone,
	} {
		if err := given(o, field, o.text, to); err != nil {
			return out, err
		}
	}
	for field, to := range map[string]**int64{
		"rotation_interval_secs": &out.RotationIntervalSecs, "rotation_window_secs": &out.RotationWindowSecs,
		"grace_period_secs": &out.GracePeriodSecs, "delete_version_after_secs": &out.DeleteVersionAfterSecs,
	} {
		if err := given(o, field, o.integer, to); err != nil {
			return out, err
		}
	}
	if err := given(o, "keep_versions", o.small, &out.KeepVersions); err != nil {
		return out, err
	}
	for field, to := range map[string]**bool{"rotation_paused": &out.RotationPaused, "cas_required": &out.CASRequired} {
		if err := given(o, field, o.boolean, to); err != nil {
			return out, err
		}
	}
	if out.Tags, err = o.tags(); err != nil {
		return out, err
	}
	if out.TagsPatch, err = o.tagsPatch(); err != nil {
		return out, err
	}
	out.GeneratePolicy, err = o.policy()
	return out, err
}

// given reads a field into *to, if it is there.
func given[T any](o object, field string, read func(string) (T, error), to **T) error {
	if _, ok := o[field]; !ok {
		return nil
	}
	v, err := read(field)
	if err == nil {
		*to = &v
	}
	return err
}

// small reads a whole number that an int holds everywhere.
func (o object) small(field string) (int, error) {
	n, err := o.integer(field)
	if err == nil && int64(int32(n)) != n {
		err = core.Errorf(core.Invalid, "%s is out of range", field)
	}
	return int(n), err
}
