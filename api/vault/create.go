package vault

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// CreateRequest is a secret to make. Texts are unchecked; the door parses them.
type CreateRequest struct {
	Name                 string
	Kind                 string // "" = manual
	ContentType          string // "" = plain text
	Value                []byte // nil = generate one (automatic only); the door wipes it
	Description          string
	Tags                 map[string]string
	RotationIntervalSecs int64 // at least 1 for automatic, or 0 with a schedule or for manual
	Rotation             Rotation
	GracePeriodSecs      int64
	GeneratePolicy       *generate.Policy // nil = the default one for automatic, none for manual
	CASRequired          bool             // each update of the value must name the version it replaces

	DeleteVersionAfterSecs int64 // after its creation a version is deleted by itself; 0 = never

	WithoutValue bool // the manual secret has settings and no version; a later update makes its first one
}

// Create stores a new secret and returns its metadata, never its value. Its first version is 1, or the one after the
// last that a deleted secret of that name had: no version of a name means two values. It needs the right create on the
// name. Errors: Unauthenticated, Denied, Invalid, TooLarge, Exists, Unavailable. The request's Value is wiped on every
// path.
func (v *Vault) Create(ctx context.Context, c Caller, r CreateRequest) (Secret, error) {
	defer envelope.Wipe(r.Value)
	a := v.try(c, ActionCreate, r.Name, 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (made Secret, err error) {
		// First of all, so that no key is made for a caller without the right.
		if err := a.decide(ctx, onPrimary); err != nil {
			return made, err
		}
		if r.WithoutValue {
			made, err = v.createMetadata(ctx, r, a.author())
		} else {
			made, err = v.create(ctx, r, a.author())
		}
		return made, err
	})
}

func (v *Vault) create(ctx context.Context, r CreateRequest, by Author) (Secret, error) {
	s, err := r.parse()
	if err != nil {
		return Secret{}, err
	}
	if s.ID, err = core.NewSecretID(rand.Reader); err != nil {
		return Secret{}, err
	}
	value := r.Value
	if value == nil {
		if value, err = generated(s.GeneratePolicy); err != nil {
			return Secret{}, err
		}
		defer envelope.Wipe(value)
	}
	if err := checkField(s.GeneratePolicy, value); err != nil {
		return Secret{}, err
	}
	return v.store(ctx, s, value, by)
}

// store seals value as the first version of s. Few names are used twice, so it supposes 1 and asks for the number only
// when it is another.
func (v *Vault) store(ctx context.Context, s NewSecret, value []byte, by Author) (made Secret, err error) {
	s.Version = 1
	for try := 1; ; try++ {
		b := envelope.Binding{ID: s.ID, Name: s.Name, Version: s.Version, ContentType: s.ContentType}
		if s.Sealed, err = v.seal(ctx, b, value); err != nil {
			return Secret{}, err
		}
		made, err = v.c.Store.CreateSecret(ctx, s, by)
		if !errors.Is(err, ErrNameUsed) || try == maxStaleTries {
			return made, err
		}
		if s.Version, err = v.c.Store.FirstVersion(ctx, s.Name); err != nil {
			return Secret{}, err
		}
	}
}

// parse checks everything but the value itself.
func (r *CreateRequest) parse() (s NewSecret, err error) {
	if s.Name, err = core.ParseName(r.Name); err != nil {
		return s, err
	}
	s.Kind = core.Manual
	if r.Kind != "" {
		if s.Kind, err = core.ParseKind(r.Kind); err != nil {
			return s, err
		}
	}
	if s.ContentType, err = core.ParseContentType(r.ContentType); err != nil {
		return s, err
	}
	if err = checkDescription(r.Description); err != nil {
		return s, err
	}
	if err = checkTags(r.Tags); err != nil {
		return s, err
	}
	if err = checkPeriod("delete_version_after_secs", r.DeleteVersionAfterSecs); err != nil {
		return s, err
	}
	s.Description, s.Tags = r.Description, r.Tags
	s.CASRequired, s.DeleteVersionAfterSecs = r.CASRequired, r.DeleteVersionAfterSecs
	return s, r.parseRotation(&s)
}

func (r *CreateRequest) parseRotation(s *NewSecret) error {
	if err := checkPeriod("rotation_interval_secs", r.RotationIntervalSecs); err != nil {
		return err
	}
	if err := checkPeriod("grace_period_secs", r.GracePeriodSecs); err != nil {
		return err
	}
	if r.GeneratePolicy != nil {
		if err := r.GeneratePolicy.CheckStrength(); err != nil {
			return err
		}
	}
	if err := r.Rotation.check(); err != nil {
		return err
	}
	if err := checkFit(s.Kind, s.ContentType, r.GeneratePolicy); err != nil {
		return err
	}
	if r.Value == nil && !r.WithoutValue && r.GeneratePolicy != nil && r.GeneratePolicy.JSONField != "" {
		return core.Errorf(core.Invalid, "a secret with a json_field needs a first value, of which the field is a part")
	}
	s.Rotation = r.Rotation
	s.RotationIntervalSecs, s.GracePeriodSecs, s.GeneratePolicy = r.RotationIntervalSecs, r.GracePeriodSecs, r.GeneratePolicy
	if s.Kind == core.Manual {
		return r.checkManual()
	}
	return s.completeAutomatic()
}

func (r *CreateRequest) checkManual() error {
	switch {
	case r.WithoutValue && r.Value != nil:
		return core.Errorf(core.Invalid, "a secret that is made without a version has no value")
	case !r.WithoutValue && r.Value == nil:
		return core.Errorf(core.Invalid, "a manual secret needs a value")
	}
	if r.RotationIntervalSecs != 0 || r.Rotation.Schedule != "" {
		return core.Errorf(core.Invalid, "rotation_interval_secs and rotation_schedule are for automatic secrets")
	}
	return nil
}

// checkFit refuses a policy whose values the content type would refuse at every rotation.
func checkFit(kind core.Kind, ct core.ContentType, p *generate.Policy) error {
	byField := p != nil && p.JSONField != ""
	switch {
	case byField && ct != core.JSON:
		return core.Errorf(core.Invalid, "json_field is for secrets of the content type application/json")
	case !byField && ct == core.JSON && kind == core.Automatic:
		return core.Errorf(core.Invalid, "an automatic secret of JSON needs a generate_policy with a json_field: the one that is generated")
	}
	return nil
}

// completeAutomatic writes the default policy down, so that a later default does
// not change what this secret's rotations look like.
func (s *NewSecret) completeAutomatic() error {
	if (s.RotationIntervalSecs == 0) == (s.Rotation.Schedule == "") {
		return core.Errorf(core.Invalid, "an automatic secret needs either rotation_interval_secs of at least 1 or rotation_schedule")
	}
	if s.GeneratePolicy == nil {
		p := generate.Default()
		s.GeneratePolicy = &p
	}
	return nil
}

// checkField refuses a value that a rotation by policy could not keep a part of.
func checkField(p *generate.Policy, value []byte) error {
	if p == nil || p.JSONField == "" {
		return nil
	}
	return p.CheckDocument(value)
}

// seal checks value, and seals it under a new data key, which is wiped.
func (v *Vault) seal(ctx context.Context, b envelope.Binding, value []byte) (SealedValue, error) {
	if err := b.ContentType.CheckValue(value, v.c.MaxValueLen); err != nil {
		return SealedValue{}, err
	}
	key, err := v.generate(ctx, b.KMSContext())
	defer envelope.Wipe(key.Plain)
	if err != nil {
		return SealedValue{}, err
	}
	v.step(StepKey)
	s, err := envelope.Seal(key.Plain, b, value)
	if err != nil {
		return SealedValue{}, err
	}
	return SealedValue{EnvelopeVersion: s.EnvelopeVersion, Key: key.WrappedKey, Nonce: s.Nonce, Ciphertext: s.Ciphertext}, nil
}

// generated returns a new value, which the caller wipes.
func generated(p *generate.Policy) ([]byte, error) {
	return p.Generate(rand.Reader)
}
