package vaultapi

import (
	"net/http"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// settingsOf reads what a body says of the settings of a secret. What it leaves out stays. A patch of the custom metadata
// keeps what it does not name.
func settingsOf(f fields, patch bool) (s vault.Settings, err error) {
	if f.given("max_versions") {
		keep, err := keptVersions(f)
		if err != nil {
			return s, err
		}
		s.KeepVersions = &keep
	}
	if f.given("cas_required") {
		required, err := f.boolean("cas_required")
		if err != nil {
			return s, err
		}
		s.CASRequired = &required
	}
	if f.given("delete_version_after") {
		d, err := f.duration("delete_version_after")
		if err != nil {
			return s, err
		}
		secs := int64(d / time.Second)
		s.DeleteVersionAfterSecs = &secs
	}
	tags, err := f.customMetadata(patch)
	switch {
	case err != nil || tags == nil:
		return s, err
	case patch:
		s.TagsPatch = tags
		return s, nil
	}
	s.Tags = make(map[string]string, len(tags))
	for k, v := range tags {
		s.Tags[k] = *v
	}
	return s, nil
}

// keptVersions returns how many versions max_versions keeps besides the current one, which Vault counts.
func keptVersions(f fields) (int, error) {
	n, err := f.integer("max_versions")
	switch {
	case err != nil:
		return 0, err
	case n < 0 || n > vault.MaxKeepVersions+1:
		return 0, invalid("max_versions must be between 0 and %d", vault.MaxKeepVersions+1)
	case n == 0:
		return keepByDefault, nil
	}
	return int(n) - 1, nil
}

// customMetadata reads an object of strings; in a patch null removes one. nil when it is not there.
func (f fields) customMetadata(patch bool) (map[string]*string, error) {
	const name = "custom_metadata"
	if !f.given(name) {
		return nil, nil
	}
	members, err := jsonscan.Object(f[name], nil)
	if err != nil {
		return nil, invalid("%s must be an object of strings", name)
	}
	out := make(map[string]*string, len(members))
	for k, raw := range members {
		if patch && string(raw) == "null" {
			out[k] = nil
			continue
		}
		text, err := jsonscan.Unquote(raw)
		if err != nil {
			return nil, invalid("%s must be an object of strings", name)
		}
		s := string(text)
		out[k] = &s
	}
	return out, nil
}

var metadataFields = []string{"cas_required", "custom_metadata", "delete_version_after", "max_versions"}

// writeMetadata answers PUT and POST of metadata/{path}. A secret that does not exist is made, without a version.
func (a *API) writeMetadata(r *request) error {
	err := r.readFields(maxMetadata, func(f fields) error {
		s, err := settingsOf(f, false)
		if err != nil {
			return err
		}
		made := newSecret()
		made.Name, made.Tags = r.rest, s.Tags
		if s.KeepVersions != nil {
			made.Rotation.KeepVersions = *s.KeepVersions
		}
		if s.CASRequired != nil {
			made.CASRequired = *s.CASRequired
		}
		if s.DeleteVersionAfterSecs != nil {
			made.DeleteVersionAfterSecs = *s.DeleteVersionAfterSecs
		}
		out, err := a.vault.PutMetadata(r.Request.Context(), r.Caller, s, made)
		if err != nil {
			return err
		}
		r.setIndex(out.Position)
		r.answerNothing(f.warnings(metadataFields...)...)
		return nil
	})
	return a.rejected(r, err)
}

// maxMetadata is enough for the longest custom metadata.
const maxMetadata = 2*vault.MaxTagsLen + maxBody

// patchMetadata answers PATCH of metadata/{path}, which must exist.
func (a *API) patchMetadata(r *request) error {
	err := r.readFields(maxMetadata, func(f fields) error {
		s, err := settingsOf(f, true)
		if err != nil {
			return err
		}
		out, err := a.vault.Configure(r.Request.Context(), r.Caller, vault.ConfigureRequest{Name: r.rest, Settings: s})
		if core.CodeOf(err) == core.NotFound {
			return &answerError{status: http.StatusNotFound, data: []byte{}, cause: core.Errorf(core.NotFound, "nothing is there to patch")}
		}
		if err != nil {
			return err
		}
		r.setIndex(out.Position)
		r.answerNothing(f.warnings(metadataFields...)...)
		return nil
	})
	return a.rejected(r, err)
}

// deleteMetadata answers DELETE of metadata/{path}: the secret with all its versions. What is not there is deleted already.
func (a *API) deleteMetadata(r *request) error {
	at, err := a.vault.Delete(r.Request.Context(), r.Caller, r.rest, vault.AnyVersion)
	return r.changed(vault.VersionsChanged{Position: at}, err)
}
