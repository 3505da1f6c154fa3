package vaultapi

import (
	"errors"
	"strconv"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

type versionState struct {
	CreatedTime  string `json:"created_time"`
	DeletionTime string `json:"deletion_time"`
	Destroyed    bool   `json:"destroyed"`
}

type metadataBody struct {
	CASRequired        bool                    `json:"cas_required"`
	CreatedTime        string                  `json:"created_time"`
	CurrentVersion     uint64                  `json:"current_version"`
	CustomMetadata     map[string]string       `json:"custom_metadata"`
	DeleteVersionAfter string                  `json:"delete_version_after"`
	MaxVersions        int                     `json:"max_versions"`
	OldestVersion      uint64                  `json:"oldest_version"`
	UpdatedTime        string                  `json:"updated_time"`
	Versions           map[string]versionState `json:"versions"`
}

// readMetadata answers GET of metadata/{path}.
func (a *API) readMetadata(r *request) error {
	caller, err := r.Reader()
	if err != nil {
		return a.reject(r, err)
	}
	s, err := a.vault.Describe(r.Request.Context(), caller, r.rest)
	if err != nil {
		return err
	}
	versions, err := a.vault.Versions(r.Request.Context(), caller, r.rest)
	if err != nil {
		return err
	}
	r.answerData(metadataOf(s, versions))
	return nil
}

func metadataOf(s vault.Secret, versions []vault.VersionInfo) metadataBody {
	out := metadataBody{
		CASRequired: s.CASRequired, CreatedTime: timeText(s.CreatedAt), CurrentVersion: currentOf(s),
		CustomMetadata: tagsOf(s), DeleteVersionAfter: durationText(s.DeleteVersionAfterSecs), MaxVersions: maxVersionsOf(s),
		UpdatedTime: timeText(s.UpdatedAt), Versions: make(map[string]versionState, len(versions)),
	}
	for _, v := range versions {
		out.Versions[strconv.FormatUint(v.Version, 10)] = versionState{
			CreatedTime: timeText(v.CreatedAt), DeletionTime: timeText(deletionOf(v)), Destroyed: !v.DestroyedAt.IsZero(),
		}
		if out.OldestVersion == 0 || v.Version < out.OldestVersion {
			out.OldestVersion = v.Version
		}
	}
	if out.OldestVersion == 1 {
		out.OldestVersion = 0 // as long as none was dropped
	}
	return out
}

// maxVersionsOf returns how many versions are kept: 0 is the default of ten.
func maxVersionsOf(s vault.Secret) int {
	if s.Rotation.KeepVersions == keepByDefault {
		return 0
	}
	return s.Rotation.KeepVersions + 1
}

// currentOf returns the current version, 0 if there is none yet.
func currentOf(s vault.Secret) uint64 {
	if !s.HasVersion() {
		return 0
	}
	return s.CurrentVersion
}

func tagsOf(s vault.Secret) map[string]string {
	if len(s.Tags) == 0 {
		return nil
	}
	return s.Tags
}

// gone answers a read that found nothing: a version that was deleted or destroyed has metadata, in an answer with the
// status 404.
func (a *API) gone(r *request, caller vault.Caller, version uint64, notFound error) error {
	if version == 0 {
		if g, ok := errors.AsType[*vault.Gone](notFound); ok {
			return goneVersion(r, g.Secret, g.Version)
		}
		return notFound // a name that is not there must cost little: clients try many
	}
	versions, err := a.vault.Versions(r.Request.Context(), caller, r.rest)
	switch {
	case core.CodeOf(err) == core.NotFound:
		return notFound
	case err != nil:
		return err
	}
	for _, v := range versions { // newest first
		if v.Version != version {
			continue
		}
		if deletionOf(v).IsZero() && v.DestroyedAt.IsZero() {
			return notFound
		}
		s, err := a.vault.Describe(r.Request.Context(), caller, r.rest)
		if err != nil {
			return err
		}
		return goneVersion(r, s, v)
	}
	return notFound
}

// deletionOf returns when a version was deleted, or will be; zero = never.
func deletionOf(v vault.VersionInfo) time.Time {
	if v.DeletedAt.IsZero() {
		return v.DeleteAt
	}
	return v.DeletedAt
}

func goneVersion(r *request, s vault.Secret, v vault.VersionInfo) error {
	return notThere(r, dataBody{Metadata: versionMetadata{
		CreatedTime: timeText(v.CreatedAt), CustomMetadata: tagsOf(s), DeletionTime: timeText(deletionOf(v)),
		Destroyed: !v.DestroyedAt.IsZero(), Version: v.Version,
	}})
}

// readConfig answers the settings of the mount. They are constants: each secret has its own.
func (a *API) readConfig(r *request) error {
	if err := a.mayKnow(r); err != nil {
		return err
	}
	r.answerData(map[string]any{"cas_required": false, "delete_version_after": "0s", "max_versions": 0})
	return nil
}

// writeConfig answers PUT and POST of config. The mount has no settings of its own, so only those that are in force are
// taken: what a client wanted for all secrets must not seem to be so.
func (a *API) writeConfig(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		versions, err := f.integer("max_versions")
		if err != nil {
			return err
		}
		required, err := f.boolean("cas_required")
		if err != nil {
			return err
		}
		after, err := f.duration("delete_version_after")
		if err != nil {
			return err
		}
		if versions != 0 && versions != keepByDefault+1 || required || after != 0 {
			return invalid("the mount has no settings of its own: set max_versions, cas_required and delete_version_after of each secret")
		}
		if err := a.mayKnow(r); err != nil {
			return err
		}
		r.answerNothing(f.warnings("max_versions", "cas_required", "delete_version_after")...)
		return nil
	})
	return a.rejected(r, err)
}
