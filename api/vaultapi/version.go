package vaultapi

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// changeVersions is what the door does with some versions of a secret.
type changeVersions func(context.Context, vault.Caller, string, []uint64) (vault.VersionsChanged, error)

// deleteLatest answers DELETE of data/{path}. What is not there is deleted already.
func (a *API) deleteLatest(r *request) error {
	return r.changed(a.vault.DeleteVersions(r.Request.Context(), r.Caller, r.rest, nil))
}

func (r *request) changed(done vault.VersionsChanged, err error, warnings ...string) error {
	if err != nil && core.CodeOf(err) != core.NotFound {
		return err
	}
	r.setIndex(done.Position)
	r.answerNothing(warnings...)
	return nil
}

func (a *API) deleteVersions(r *request) error   { return a.onVersions(r, a.vault.DeleteVersions) }
func (a *API) undeleteVersions(r *request) error { return a.onVersions(r, a.vault.UndeleteVersions) }
func (a *API) destroyVersions(r *request) error  { return a.onVersions(r, a.vault.DestroyVersions) }

// onVersions changes the versions that the body names. Those that are not there are ignored.
func (a *API) onVersions(r *request, change changeVersions) error {
	err := r.readFields(maxBody, func(f fields) error {
		versions, err := f.versions()
		if err != nil {
			return err
		}
		done, err := change(r.Request.Context(), r.Caller, r.rest, versions)
		return r.changed(done, err, f.warnings("versions")...)
	})
	return a.rejected(r, err)
}

// versions reads numbers, also as strings, in an array or one alone.
func (f fields) versions() (out []uint64, err error) {
	add := func(raw []byte) error {
		n, ok := wholeNumber(raw)
		if !ok || n < 1 {
			return invalid("a version is a whole number from 1")
		}
		if out = append(out, uint64(n)); len(out) > vault.MaxVersionsPerChange {
			return invalid("more than %d versions are given", vault.MaxVersionsPerChange)
		}
		return nil
	}
	if f.given("versions") {
		if raw := f["versions"]; raw[0] == '[' {
			err = jsonscan.Elements(raw, add)
		} else {
			err = add(raw)
		}
	}
	if err == nil && len(out) == 0 {
		err = invalid("No version number provided")
	}
	return out, err
}
