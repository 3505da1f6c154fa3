package store

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// Arguments. A zero that means "none" becomes NULL.

func sealedArgs(s vault.SealedValue) []any {
	return []any{s.EnvelopeVersion, s.Key.KeyID, s.Key.Wrapped, s.Nonce, s.Ciphertext}
}

func originArgs(o vault.Origin) []any {
	return []any{o.Node, o.Actor, orNull(o.SessionRole), addrArg(o.ClientIP), orNull(o.RequestID)}
}

func addrArg(a netip.Addr) any {
	if !a.IsValid() {
		return nil
	}
	return a
}

func timeArg(t time.Time) any { return orNull(t) }

func versionArg(v uint64) any {
	return orNull(int64(v))
}

// orNull returns nil for the zero value.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// tagsArg returns nil, for NULL, when there are none given.
func tagsArg(tags map[string]string) ([]byte, error) {
	if tags == nil {
		return nil, nil
	}
	b, err := json.Marshal(tags)
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "encode tags")
	}
	return b, nil
}

func policyArg(p *generate.Policy) (any, error) {
	if p == nil {
		return nil, nil
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "encode the generate policy")
	}
	return b, nil
}

// answeredAt is a column after those of a function: when the server has run that, by its clock. What lasts for a while is counted
// from then, because the clock of this machine may be another one.
const answeredAt = "pg_catalog.clock_timestamp()"

// Rows. They may have been edited by hand, so nothing is assumed but
// what the column types say.

func secretRow(r pgx.CollectableRow) (vault.Secret, error) {
	x, err := secretResultRow(r)
	if err == nil {
		err = x.Err
	}
	return x.Secret, err
}

// stateRow reads one row of vault.secret_state.
func stateRow(r pgx.CollectableRow) (vault.Secret, error) {
	x, _, err := secretState(r.Scan)
	if err == nil {
		err = x.Err
	}
	return x.Secret, err
}

// secretState reads one row of vault.secret_state.
func secretState(scan scanner) (vault.SecretResult, bool, error) {
	var f secretFields
	if err := scan(append(f.targets(), &f.first, &f.guarded, &f.deleteAfter, &f.bound)...); err != nil {
		return vault.SecretResult{}, false, err
	}
	return f.result(), f.id.Valid || f.name.Valid, nil
}

// secretResultRow reads one row of vault.secret_info. As with storedResultRows, a malformed one fails alone.
func secretResultRow(r pgx.CollectableRow) (vault.SecretResult, error) {
	var f secretFields
	if err := r.Scan(f.targets()...); err != nil {
		return vault.SecretResult{}, err
	}
	return f.result(), nil
}

// secretFields receives the columns of vault.secret_info, whatever they hold, and those that vault.secret_state has more.
type secretFields struct {
	id                       pgtype.UUID
	name, kind, ctype, about pgtype.Text
	schedule, zone           pgtype.Text
	tags, policy             []byte
	interval, window, grace  pgtype.Int8
	current, revision        pgtype.Int8
	paused                   pgtype.Bool
	keep                     pgtype.Int4
	next, created, updated   pgtype.Timestamptz

	first   pgtype.Int8
	guarded pgtype.Bool
	bound   pgtype.Bool

	deleteAfter pgtype.Int8
}

func (f *secretFields) targets() []any {
	return []any{&f.id, &f.name, &f.kind, &f.ctype, &f.about, &f.tags, &f.interval, &f.grace, &f.policy, &f.current, &f.next,
		&f.schedule, &f.zone, &f.window, &f.paused, &f.keep, &f.created, &f.updated, &f.revision}
}

// wellFormed reports whether every column but tags and policy holds what its constraints promise.
func (f *secretFields) wellFormed() bool {
	return f.id.Valid && f.name.Valid && f.kind.Valid && f.ctype.Valid && f.about.Valid && f.zone.Valid && f.grace.Valid &&
		f.current.Valid && f.current.Int64 >= f.least() && f.revision.Valid && f.revision.Int64 >= 1 && f.paused.Valid && f.keep.Valid && finite(f.next) &&
		f.created.Valid && finite(f.created) && f.updated.Valid && finite(f.updated)
}

// least returns the lowest number that the current version can have: that before the first one if there is none yet.
func (f *secretFields) least() int64 {
	if f.first.Valid && f.first.Int64 >= 1 {
		return f.first.Int64 - 1
	}
	return 1
}

// result returns the secret. If it is malformed it is only what identifies it, as far as that can be read.
func (f *secretFields) result() vault.SecretResult {
	out := vault.SecretResult{Secret: vault.Secret{
		ID: f.id.Bytes, Name: core.Name(f.name.String), CurrentVersion: uint64(max(f.current.Int64, 0)),
	}}
	name := core.Quote(f.name.String)
	if !f.wellFormed() {
		out.Err = core.Errorf(core.Corrupt, "the stored row of %s is malformed", name)
		return out
	}
	s := out.Secret
	s.Kind, s.ContentType, s.Description = core.Kind(f.kind.String), core.ContentType(f.ctype.String), f.about.String
	s.RotationIntervalSecs, s.GracePeriodSecs, s.NextRotationAt = f.interval.Int64, f.grace.Int64, f.next.Time
	s.Rotation = vault.Rotation{
		Schedule: f.schedule.String, TimeZone: f.zone.String, WindowSecs: f.window.Int64, Paused: f.paused.Bool,
		KeepVersions: int(f.keep.Int32),
	}
	// A schema of protocol 1 has no secret without a version, and none that requires a condition.
	s.FirstVersion, s.CASRequired, s.DeleteVersionAfterSecs = uint64(max(f.first.Int64, 0)), f.guarded.Bool, f.deleteAfter.Int64
	s.Bound = f.bound.Bool
	s.CreatedAt, s.UpdatedAt, s.SettingsRevision = f.created.Time, f.updated.Time, uint64(f.revision.Int64)
	if err := json.Unmarshal(f.tags, &s.Tags); err != nil {
		out.Err = core.Wrap(core.Corrupt, err, "the stored tags of %s are malformed", name)
		return out
	}
	if f.policy != nil {
		p, err := generate.Parse(f.policy)
		if err != nil {
			out.Err = core.Wrap(core.Corrupt, err, "the stored generate policy of %s is malformed", name)
			return out
		}
		s.GeneratePolicy = &p
	}
	out.Secret = s
	return out
}

func storedRow(r pgx.CollectableRow) (vault.StoredValue, error) {
	s, err := storedResultRow(r)
	if err == nil {
		err = s.err
	}
	return s.StoredValue, err
}

// storedResultRow reads one row.
func storedResultRow(r pgx.CollectableRow) (storedResult, error) { return storedResultRows()(r) }

// storedResultRows returns what reads the rows of one question, for one goroutine. It reads into types that take
// whatever a column can hold, so that a malformed row fails alone: after a failed Scan pgx gives up the rows behind it too.
func storedResultRows() pgx.RowToFunc[storedResult] {
	read := storedResults()
	return func(r pgx.CollectableRow) (storedResult, error) {
		s, _, err := read(r.Scan)
		return s, err
	}
}

// storedReader reads the columns of vault.stored_value; ok is false when there is no row.
type storedReader func(scan scanner) (s storedResult, ok bool, err error)

// storedResults is storedResultRows behind other columns, and where there may be no row.
func storedResults() storedReader {
	f := &storedFields{}
	targets := f.targets()
	return func(scan scanner) (s storedResult, ok bool, err error) {
		*f = storedFields{}
		if err := scan(targets...); err != nil {
			return s, false, err
		}
		s.StoredValue = f.value()
		if !f.wellFormed() {
			s.err = core.Errorf(core.Corrupt, "the stored row of %s is malformed", core.Quote(f.name.String))
		}
		return s, f.id.Valid || f.name.Valid, nil
	}
}

// storedFields receives the columns of vault.stored_value.
type storedFields struct {
	id                     pgtype.UUID
	name, ctype, kind, key pgtype.Text
	current, version       pgtype.Int8
	envelope               pgtype.Int2
	wrapped, nonce, sealed []byte
	createdAt, expiresAt   pgtype.Timestamptz
}

func (f *storedFields) targets() []any {
	return []any{&f.id, &f.name, &f.ctype, &f.kind, &f.current, &f.version, &f.envelope, &f.key, &f.wrapped, &f.nonce,
		&f.sealed, &f.createdAt, &f.expiresAt}
}

// wellFormed reports whether every column holds what its constraints promise.
func (f *storedFields) wellFormed() bool {
	return f.id.Valid && f.name.Valid && f.ctype.Valid && f.kind.Valid && f.key.Valid && f.envelope.Valid &&
		f.current.Valid && f.current.Int64 >= 1 && f.version.Valid && f.version.Int64 >= 1 &&
		f.createdAt.Valid && finite(f.createdAt) && finite(f.expiresAt)
}

// finite reports whether a time is null or one that JSON can show: one that is not would fail a whole answer.
func finite(t pgtype.Timestamptz) bool {
	return t.InfinityModifier == pgtype.Finite && t.Time.UTC().Year() > 0 && t.Time.UTC().Year() <= 9999
}

// shownTime returns the time, zero for null and for one that is malformed.
func shownTime(t pgtype.Timestamptz) time.Time {
	if !finite(t) {
		return time.Time{}
	}
	return t.Time
}

func (f *storedFields) value() vault.StoredValue {
	return vault.StoredValue{
		SecretID: f.id.Bytes, Name: core.Name(f.name.String), ContentType: core.ContentType(f.ctype.String),
		Kind: core.Kind(f.kind.String), CurrentVersion: uint64(f.current.Int64), Version: uint64(f.version.Int64),
		Sealed: vault.SealedValue{
			EnvelopeVersion: f.envelope.Int16, Key: vault.WrappedKey{KeyID: f.key.String, Wrapped: f.wrapped},
			Nonce: f.nonce, Ciphertext: f.sealed,
		},
		CreatedAt: f.createdAt.Time, ExpiresAt: f.expiresAt.Time,
	}
}

func versionRow(r pgx.CollectableRow) (vault.VersionInfo, error) {
	v, ok, err := versionInfo(r.Scan)
	if err == nil && !ok {
		err = core.Errorf(core.Corrupt, "a stored version has no number")
	}
	return v, err
}

// versionState reads one row of vault.version_state.
func versionState(scan scanner) (vault.VersionInfo, bool, error) {
	var deleted, destroyed, due pgtype.Timestamptz
	v, ok, err := versionInfo(scan, &deleted, &destroyed, &due)
	v.DeletedAt, v.DestroyedAt, v.DeleteAt = shownTime(deleted), shownTime(destroyed), shownTime(due)
	return v, ok, err
}

// versionInfo reads one row of vault.version_info, with more columns behind it.
func versionInfo(scan scanner, more ...any) (v vault.VersionInfo, ok bool, err error) {
	var (
		numbered         *int64
		envelope         *int16
		key              *string
		created, expires pgtype.Timestamptz
	)
	targets := append([]any{&numbered, &envelope, &key, &created, &expires}, more...)
	if err := scan(targets...); err != nil || numbered == nil {
		return v, false, err
	}
	v.EnvelopeVersion, v.KMSKeyID, v.CreatedAt, v.ExpiresAt = orZero(envelope), orZero(key), shownTime(created), shownTime(expires)
	v.Version, err = version(*numbered)
	return v, err == nil, err
}

func version(n int64) (uint64, error) {
	if n < 1 {
		return 0, core.Errorf(core.Corrupt, "a stored version number is below 1")
	}
	return uint64(n), nil
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
