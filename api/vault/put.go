package vault

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// PutRequest is a value for a name, whether a secret of that name exists or not.
type PutRequest struct {
	Name string
	// Expected is the version to replace, or AnyVersion. NoVersion means that there must be no version or no such secret.
	Expected uint64
	// New is what a secret is made with that does not exist. Its Name and Value are those of the request.
	New CreateRequest
	// Value returns the value in the form of a content type, in memory that the door wipes.
	Value func(core.ContentType) ([]byte, error)
}

// Put stores a value as the next version of a secret, or as the first of a new one. It needs the right update on the name if
// the secret exists, else create. Errors: Unauthenticated, Denied, Invalid, TooLarge, Stale, Unavailable, and what Value
// returns.
func (v *Vault) Put(ctx context.Context, c Caller, r PutRequest) (Secret, error) {
	a := v.try(c, ActionUpdate, r.Name, 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (made Secret, err error) {
		name, err := a.parseName(ctx, r.Name)
		if err != nil {
			return made, err
		}
		update := func() (err error) {
			made, err = a.putVersion(ctx, name, &r)
			return err
		}
		err = a.changeOrCreate(ctx, name, update, func() (err error) {
			made, err = a.putNew(ctx, &r)
			return err
		})
		return made, err
	})
}

func (a *attempt) putVersion(ctx context.Context, name core.Name, r *PutRequest) (made Secret, err error) {
	err = a.onCurrent(ctx, name, r.Expected, func(s Secret) error {
		if s.CASRequired && r.Expected == AnyVersion {
			return core.Wrap(core.Invalid, ErrConditionRequired, "an update of this secret must name the version it replaces: its cas_required is on")
		}
		value, err := r.Value(s.ContentType)
		defer envelope.Wipe(value)
		if err != nil {
			return err
		}
		if err := checkField(s.GeneratePolicy, value); err != nil {
			return err
		}
		nv := NewVersion{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Action: ActionUpdate}
		made, err = a.v.appendVersion(ctx, s, nv, value, a.author())
		return err
	})
	return made, err
}

func (a *attempt) putNew(ctx context.Context, r *PutRequest) (Secret, error) {
	if r.Expected != AnyVersion && r.Expected != NoVersion {
		return Secret{}, core.Errorf(core.Stale, "version %d was expected, there is no such secret", r.Expected)
	}
	made := r.New
	made.Name = r.Name
	ct, err := core.ParseContentType(made.ContentType)
	if err != nil {
		return Secret{}, err
	}
	value, err := r.Value(ct)
	defer envelope.Wipe(value)
	if err != nil {
		return Secret{}, err
	}
	made.Value = value
	return a.v.create(ctx, made, a.author())
}

// PutMetadata changes settings of a secret, or makes one without a version. It needs the right update on the name if the
// secret exists, else create. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) PutMetadata(ctx context.Context, c Caller, settings Settings, made CreateRequest) (Secret, error) {
	a := v.try(c, ActionConfigure, made.Name, 0)
	a.change = true
	return perform(ctx, a.serve, func(ctx context.Context) (out Secret, err error) {
		name, err := a.parseName(ctx, made.Name)
		if err == nil {
			if err = settings.check(); err != nil {
				err = a.invalid(ctx, err)
			}
		}
		if err != nil {
			return out, err
		}
		configure := func() error {
			return a.onCurrent(ctx, name, AnyVersion, func(s Secret) (err error) {
				out, err = v.c.Store.ConfigureSecret(ctx, Configuration{ID: s.ID, Name: s.Name, Expected: s.CurrentVersion, Settings: settings}, a.author())
				return err
			})
		}
		err = a.changeOrCreate(ctx, name, configure, func() (err error) {
			made.WithoutValue = true
			out, err = v.createMetadata(ctx, made, a.author())
			return err
		})
		return out, err
	})
}

// changeOrCreate changes a secret if it exists, and else makes it, which needs another right. It starts over if the secret
// comes or goes meanwhile.
func (a *attempt) changeOrCreate(ctx context.Context, name core.Name, change, create func() error) (err error) {
	action := a.entry.Action
	for range maxStaleTries {
		a.entry.Action = action
		err = change()
		if core.CodeOf(err) != core.NotFound {
			if !isRefusal(err) || !a.absent(ctx, name) {
				return err
			}
		}
		a.entry.Action = ActionCreate
		if err = a.decide(ctx, onPrimary); err != nil {
			return err
		}
		if err = create(); core.CodeOf(err) != core.Exists {
			return err
		}
	}
	return err
}

// absent reports whether there is no secret of a name. A caller who may neither create nor change it learns nothing by that.
func (a *attempt) absent(ctx context.Context, name core.Name) bool {
	_, _, err := a.v.c.Store.DescribeSecretOnWriter(ctx, Itself(), ActionDescribe, name)
	return core.CodeOf(err) == core.NotFound
}
