package vaultapi

import (
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// keepByDefault is how many superseded versions a secret of this protocol keeps: ten versions with the current one.
const keepByDefault = 9

// valueBody is what a body may have beside its value, which may be text of base64.
func (a *API) valueBody() int64 { return int64(a.maxValue)/3*4 + maxBody }

// written is the body of a write: its parts belong to the body, which is wiped.
type written struct {
	data     []byte // a JSON object
	cas      *int64
	warnings []string
}

func writtenOf(f fields) (w written, err error) {
	w.warnings = f.warnings("data", "options")
	if !f.given("data") {
		return w, invalid("no data provided")
	}
	if w.data = f["data"]; w.data[0] != '{' {
		return w, invalid("data must be an object")
	}
	if !f.given("options") {
		return w, nil
	}
	options, err := jsonscan.Object(f["options"], nil)
	if err != nil {
		return w, invalid("options must be an object")
	}
	if fields(options).given("cas") {
		cas, err := fields(options).integer("cas")
		if err == nil && (cas < 0 || cas == math.MaxInt64) {
			err = invalid("cas must be a version, or 0")
		}
		w.cas = &cas
		return w, err
	}
	return w, nil
}

// expected is the version that must be current: with cas 0 there must be none.
func (w *written) expected() uint64 {
	switch {
	case w.cas == nil:
		return vault.AnyVersion
	case *w.cas == 0:
		return vault.NoVersion
	}
	return uint64(*w.cas)
}

// writeData answers PUT and POST of data/{path}.
func (a *API) writeData(r *request) error {
	err := r.readFields(a.valueBody(), func(f fields) error {
		w, err := writtenOf(f)
		if err != nil {
			return err
		}
		return a.put(r, w.data, w.expected(), w.warnings)
	})
	return a.rejected(r, err)
}

// put stores an object, which stays the caller's.
func (a *API) put(r *request, object []byte, expected uint64, warnings []string) error {
	made, err := a.vault.Put(r.Request.Context(), r.Caller, vault.PutRequest{
		Name: r.rest, Expected: expected, New: newSecret(),
		Value: func(ct core.ContentType) ([]byte, error) { return valueOf(object, ct) },
	})
	if errors.Is(err, vault.ErrConditionRequired) {
		return settled(err, "check-and-set parameter required for this call")
	}
	if err != nil {
		return err
	}
	r.setIndex(made.Position)
	out := versionMetadata{CreatedTime: timeText(made.UpdatedAt), CustomMetadata: tagsOf(made), Version: made.CurrentVersion}
	if made.DeleteVersionAfterSecs > 0 {
		out.DeletionTime = timeText(made.UpdatedAt.Add(time.Duration(made.DeleteVersionAfterSecs) * time.Second))
	}
	r.answerData(out, warnings...)
	return nil
}

// settled is an error of the door, which has recorded it, with another text.
func settled(err error, text string) error {
	return &answerError{status: http.StatusBadRequest, texts: []string{text}, cause: core.Wrap(core.Stale, err, "%s", text)}
}

func newSecret() vault.CreateRequest {
	return vault.CreateRequest{ContentType: string(core.JSON), Rotation: vault.Rotation{KeepVersions: keepByDefault}}
}

// valueOf returns the value that an object stands for, in a form that fits the content type of the secret: what was stored
// as text or bytes by our own API stays so. It is the opposite of appendObject.
func valueOf(object []byte, ct core.ContentType) ([]byte, error) {
	if ct.IsJSON() {
		return append(make([]byte, 0, len(object)), object...), nil
	}
	member := "value"
	if !ct.IsText() {
		member = "value_base64"
	}
	o, err := jsonscan.Object(object, nil)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "data: %s", core.MessageOf(err))
	}
	text, err := jsonscan.Unquote(o[member])
	if err != nil || len(o) != 1 {
		envelope.Wipe(text)
		return nil, core.Errorf(core.Invalid, "the content type of this secret is %s: its data must be an object with nothing but the string %s", ct, member)
	}
	if ct.IsText() {
		return text, nil
	}
	defer envelope.Wipe(text)
	return decodeBase64(text)
}

// patchData answers PATCH of data/{path}: a merge patch of the current value.
func (a *API) patchData(r *request) error {
	err := r.readFields(a.valueBody(), func(f fields) error {
		w, err := writtenOf(f)
		if err != nil {
			return err
		}
		return a.patch(r, w)
	})
	return a.rejected(r, err)
}

// patchTries bounds how often a patch starts over because another change came between.
const patchTries = 5

func (a *API) patch(r *request, w written) error {
	var err error
	for range patchTries {
		if err = a.patchOnce(r, w); core.CodeOf(err) != core.Stale || w.cas != nil || errors.Is(err, vault.ErrConditionRequired) {
			return err
		}
	}
	return err
}

func (a *API) patchOnce(r *request, w written) error {
	caller := r.Caller
	caller.Freshness = vault.Freshness{Primary: true}
	v, err := a.vault.Read(r.Request.Context(), caller, r.rest, 0)
	if core.CodeOf(err) == core.NotFound {
		if err = a.gone(r, caller, 0, err); core.CodeOf(err) == core.NotFound {
			if _, ok := errors.AsType[*answerError](err); !ok {
				return &answerError{status: http.StatusNotFound, data: []byte{}, cause: core.Errorf(core.NotFound, "nothing is there to patch")}
			}
		}
	}
	if err != nil {
		return err
	}
	defer v.Wipe()
	expected := v.Version
	if w.cas != nil {
		expected = w.expected()
	}
	object := appendObject(make([]byte, 0, dataRoom("", &v)), &v)
	defer envelope.Wipe(object)
	merged, err := mergePatch(object, w.data)
	defer envelope.Wipe(merged)
	if err != nil {
		return invalid("data: %s", core.MessageOf(err))
	}
	return a.put(r, merged, expected, w.warnings)
}
