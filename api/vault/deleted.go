package vault

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// DeletedSecret is a deleted secret that can be restored.
type DeletedSecret struct {
	ID              core.SecretID
	Name            core.Name // several may have had one name, one after the other
	Kind            core.Kind
	ContentType     core.ContentType
	Description     string
	CurrentVersion  uint64
	CreatedAt       time.Time
	DeletedAt       time.Time
	RestorableUntil time.Time
}

// DeletedCursor is the position of a deleted secret in the list of them. The zero DeletedCursor is before the first.
type DeletedCursor struct {
	Until time.Time // in microseconds
	ID    core.SecretID
}

// String returns the text that ParseDeletedCursor reads.
func (c DeletedCursor) String() string { return fmt.Sprintf("%d.%s", c.Until.UnixMicro(), c.ID) }

// ParseDeletedCursor reads a position; "" is the zero DeletedCursor. The error is Invalid.
func ParseDeletedCursor(s string) (c DeletedCursor, err error) {
	if s == "" {
		return c, nil
	}
	micros, id, _ := strings.Cut(s, ".")
	at, err := strconv.ParseInt(micros, 10, 64)
	if err == nil {
		c = DeletedCursor{Until: time.UnixMicro(at)}
		c.ID, err = core.ParseSecretID(id)
	}
	const latest = 253402300800 * 1e6 // the year 10000, which no time of PostgreSQL's that is shown reaches
	if err != nil || at < 0 || at >= latest || c.String() != s {
		return DeletedCursor{}, core.Errorf(core.Invalid, "after is not what a list of deleted secrets has as next")
	}
	return c, nil
}

// DeletedPage is a part of the list of deleted secrets. Next is the position to continue at, "" at the end.
type DeletedPage struct {
	Secrets []DeletedSecret
	Next    string
}

// DeletedSecrets is the part of a Store that keeps deleted secrets for a time.
type DeletedSecrets interface {
	// ListDeleted returns at most limit deleted secrets that the caller may see and that have the prefix, the last deleted
	// first, from after a position on. It queries the reader.
	ListDeleted(ctx context.Context, by Credential, prefix string, after DeletedCursor, limit int, f Freshness) ([]DeletedSecret, Identity, error)
	// DeletedName fetches the name of a deleted secret from the primary; NotFound when it cannot be restored. It decides
	// about no caller.
	DeletedName(ctx context.Context, id core.SecretID) (core.Name, error)
	// RestoreSecret brings a deleted secret back, for which its author needs the right create on the name. NotFound when it
	// cannot be restored; Exists when the name was used again.
	RestoreSecret(ctx context.Context, id core.SecretID, name core.Name, by Author) (Secret, error)
	// DestroyDeleted drops what is left of a deleted secret, for which its author needs the right delete on the name.
	DestroyDeleted(ctx context.Context, id core.SecretID, name core.Name, by Author) (core.Position, error)
}

// ListDeleted returns the deleted secrets below a prefix that can be restored and that the caller may do anything with, the
// last deleted first. after is the Next of the page before, and "" for the first page. limit 0 means DefaultPageSize. It
// needs an allowed client address. Errors: Unauthenticated, Denied, Invalid, Unavailable.
func (v *Vault) ListDeleted(ctx context.Context, c Caller, prefix, after string, limit int) (DeletedPage, error) {
	a := v.try(c, ActionList, prefix, 0)
	return perform(ctx, a.serve, func(ctx context.Context) (out DeletedPage, err error) {
		if limit == 0 {
			limit = DefaultPageSize
		}
		prefix, err := checkList(prefix, "", limit)
		if err != nil {
			return out, a.invalid(ctx, err)
		}
		from, err := ParseDeletedCursor(after)
		if err != nil {
			return out, a.invalid(ctx, err)
		}
		var i Identity
		out.Secrets, i, err = v.c.Store.ListDeleted(ctx, a.by, prefix, from, limit+1, c.Freshness) // one more shows that there is more
		if len(out.Secrets) > limit {
			out.Secrets = out.Secrets[:limit]
			last := out.Secrets[limit-1]
			out.Next = DeletedCursor{last.RestorableUntil, last.ID}.String()
		}
		return out, a.found(i, err)
	})
}

// Restore brings a deleted secret back as it was. A rotation comes an interval from now, or by the schedule. It needs the
// right create on the name. Errors: Unauthenticated, Denied, Invalid, NotFound, Exists (the name was used again),
// Unavailable.
func (v *Vault) Restore(ctx context.Context, c Caller, id string) (Secret, error) {
	a := v.try(c, ActionRestore, "", 0)
	var made Secret
	err := a.onDeleted(ctx, id, func(ctx context.Context, id core.SecretID, name core.Name) (err error) {
		made, err = v.c.Store.RestoreSecret(ctx, id, name, a.author())
		return err
	})
	if err != nil {
		return Secret{}, err
	}
	return made, nil
}

// DestroyDeleted drops what is left of a deleted secret, before its time. It needs the right delete on the name. Errors:
// Unauthenticated, Denied, Invalid, NotFound, Unavailable.
func (v *Vault) DestroyDeleted(ctx context.Context, c Caller, id string) (core.Position, error) {
	a := v.try(c, ActionDestroy, "", 0)
	var at core.Position
	err := a.onDeleted(ctx, id, func(ctx context.Context, id core.SecretID, name core.Name) (err error) {
		at, err = v.c.Store.DestroyDeleted(ctx, id, name, a.author())
		return err
	})
	return at, err
}

// onDeleted runs change on a deleted secret. Who the caller is, is decided before anything is looked up, and its right on
// the name by the change. A caller that may not even see the secret in a list gets the answer of an id that is not there.
// The refusal is recorded as such.
func (a *attempt) onDeleted(ctx context.Context, id string, change func(context.Context, core.SecretID, core.Name) error) error {
	a.change = true
	hidden := false
	err := a.serve(ctx, func(ctx context.Context) error {
		if err := a.decide(ctx, onPrimary); err != nil {
			return err
		}
		parsed, err := core.ParseSecretID(id)
		if err != nil {
			return err
		}
		name, err := a.v.c.Store.DeletedName(ctx, parsed)
		if err != nil {
			return err
		}
		a.entry.Name = recordable(a.entry.Action, string(name))
		err = change(ctx, parsed, name)
		if core.CodeOf(err) == core.Denied && isRefusal(err) {
			hidden = !a.sees(ctx, string(name))
		}
		return err
	})
	if hidden && core.CodeOf(err) == core.Denied {
		return core.Errorf(core.NotFound, "no such deleted secret")
	}
	return err
}

// sees reports whether the caller has any right on a name, so that lists show it. Without an answer it has none.
func (a *attempt) sees(ctx context.Context, name string) bool {
	right := RightOf(ActionDescribe)
	i, err := a.v.c.Store.Decide(ctx, a.by, right, name, onPrimary)
	return err == nil && i.Refusal(a.by, right) == nil
}
