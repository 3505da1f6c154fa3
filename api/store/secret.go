package store

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	createSealed = `($1::uuid, $2::text, $3::bigint,
	ROW($4::smallint, $5::text, $6::bytea, $7::bytea, $8::bytea)::vault.sealed_value, $9::text, $10::text,
	ROW($11::text, $12::jsonb, $13::bigint, $14::text, $15::text, $16::bigint, $17::boolean, $18::bigint, $19::integer,
		$20::jsonb)::vault.secret_settings, `
	createGuarded = "SELECT * FROM vault.store_secret" + createSealed + `ROW($21::boolean, $22::bigint)::vault.version_settings, ORIGIN)`
	// createLegacy has the columns of vault.secret_state too.
	createLegacy = "SELECT i.*, NULL::bigint, NULL::boolean, NULL::bigint, NULL::boolean FROM vault.create_secret" + createSealed + "ORIGIN) i"
)

var createSecret, createSecretLegacy = signed(createGuarded, 22), signed(createLegacy, 20)

// CreateSecret implements vault.Store.
func (d *DB) CreateSecret(ctx context.Context, s vault.NewSecret, by vault.Author) (vault.Secret, error) {
	tags, err := tagsArg(s.Tags)
	if err != nil {
		return vault.Secret{}, err
	}
	policy, err := policyArg(s.GeneratePolicy)
	if err != nil {
		return vault.Secret{}, err
	}
	args := []any{[16]byte(s.ID), string(s.Name), int64(s.Version)}
	args = append(args, sealedArgs(s.Sealed)...)
	args = append(args, string(s.Kind), string(s.ContentType), s.Description, tags,
		orNull(s.RotationIntervalSecs), orNull(s.Rotation.Schedule), orNull(s.Rotation.TimeZone),
		orNull(s.Rotation.WindowSecs), s.Rotation.Paused, s.GracePeriodSecs, int32(s.Rotation.KeepVersions), policy)
	return performSecret(ctx, d, change[vault.Secret]{
		secret: string(s.Name), refusal: refusalTo(by, "create"), row: stateRow,
		text: func(legacy bool) (string, []any, error) {
			switch {
			case !legacy:
				return createSecret.by(by, "create", string(s.Name), append(args, s.CASRequired, s.DeleteVersionAfterSecs))(false)
			case s.CASRequired || s.DeleteVersionAfterSecs != 0:
				return "", nil, errLegacy()
			}
			return createSecretLegacy.by(by, "create", string(s.Name), args)(true)
		},
		landed: func(ctx context.Context) (vault.Secret, bool, error) {
			return d.landed(ctx, s.ID, s.Name, s.Version, s.Sealed.Nonce)
		},
		together: d.creations.maker(newCreation{&s, tags, by}),
	})
}

// FirstVersion implements vault.Store.
func (d *DB) FirstVersion(ctx context.Context, name core.Name) (uint64, error) {
	rows, err := readPrimary(ctx, d, "SELECT vault.first_version($1::text)", []any{string(name)}, pgx.RowTo[int64])
	if err != nil {
		return 0, err
	}
	return version(rows[0])
}

var appendVersion = signed(`SELECT * FROM vault.append_version($1::uuid, $2::bigint,
	ROW($3::smallint, $4::text, $5::bytea, $6::bytea, $7::bytea)::vault.sealed_value,
	$8::text, ROW($9::text, $10::jsonb, NULL, NULL, NULL, NULL, NULL, $11::bigint, NULL, NULL)::vault.secret_settings,
	$12::boolean, ORIGIN)`, 12)

// AppendVersion implements vault.Store.
func (d *DB) AppendVersion(ctx context.Context, v vault.NewVersion, by vault.Author) (vault.Secret, error) {
	tags, err := tagsArg(v.Tags)
	if err != nil {
		return vault.Secret{}, err
	}
	args := []any{[16]byte(v.ID), int64(v.Expected)}
	args = append(args, sealedArgs(v.Sealed)...)
	right := vault.RightOf(v.Action)
	args = append(args, string(v.Action), v.Description, tags, v.GracePeriodSecs, v.Reschedule)
	text := appendVersion
	groups := d.appends
	if p := v.Password; p.Verifier != "" {
		groups, text, args = d.passwordAppends, appendWithVerifier, append(args, p.Verifier, p.Role)
	}
	return performSecret(ctx, d, change[vault.Secret]{
		secret: string(v.Name), text: text.by(by, right, string(v.Name), args), refusal: refusalTo(by, right), row: secretRow,
		landed: func(ctx context.Context) (vault.Secret, bool, error) {
			return d.landed(ctx, v.ID, v.Name, v.Expected+1, v.Sealed.Nonce)
		},
		together: groups.maker(newAppend{v, by, right}),
	})
}

// landed reports whether the version with this very nonce is stored. A nonce is
// random and used once, so no other change can look like this one. Only another
// in its place shows that it was not made, be it of another secret, since no version of a name is made twice: a version
// that is gone may have been it.
func (d *DB) landed(ctx context.Context, id core.SecretID, name core.Name, version uint64, nonce []byte) (vault.Secret, bool, error) {
	rows, err := readPrimary(ctx, d, readSealed, []any{[]string{string(name)}, int64(version)}, storedRow)
	switch {
	case err != nil:
		return vault.Secret{}, false, err
	case len(rows) != 1:
		return vault.Secret{}, false, errTraceless
	case rows[0].SecretID != id || !bytes.Equal(rows[0].Sealed.Nonce, nonce):
		return vault.Secret{}, false, nil
	}
	s, _, err := d.DescribeSecretOnWriter(ctx, vault.Itself(), vault.ActionDescribe, name)
	if err != nil || s.ID != id {
		return vault.Secret{}, false, err
	}
	// What the lost answer said, should another change have followed already.
	s.CurrentVersion = version
	return s, true, nil
}

var (
	deleteSecret  = signed("SELECT true FROM vault.delete_secret($1::uuid, $2::bigint, ORIGIN, $3::uuid)", 3)
	destroySecret = signed("SELECT true FROM vault.destroy_secret($1::uuid, $2::bigint, ORIGIN, $3::uuid)", 3)
)

// DeleteSecret implements vault.Store. It leaves no row, so the id in its audit record tells it from another's deletion.
func (d *DB) DeleteSecret(ctx context.Context, x vault.Deletion, by vault.Author) (core.Position, error) {
	id := newChangeID()
	args := []any{[16]byte(x.ID), int64(x.Expected), id}
	_, at, err := performAt(ctx, d, change[bool]{
		secret: string(x.Name), text: func(legacy bool) (string, []any, error) {
			if x.Destroy && !legacy { // a schema of protocol 1 destroys what it deletes
				return destroySecret.by(by, "delete", string(x.Name), args)(false)
			}
			return deleteSecret.by(by, "delete", string(x.Name), args)(legacy)
		}, refusal: refusalTo(by, "delete"), row: pgx.RowTo[bool],
		landed: func(ctx context.Context) (bool, bool, error) {
			at, err := d.madeAt(ctx, id)
			return true, err == nil && !at.IsZero(), err
		},
	})
	return at, err
}

const readSealed = "SELECT * FROM vault.read_sealed($1::text[], $2::bigint)"

// ReadSealed implements vault.Store.
func (d *DB) ReadSealed(ctx context.Context, by vault.Credential, name core.Name, version uint64, f vault.Freshness) (
	[]vault.StoredValue, vault.Identity, error,
) {
	q := readQuestion{by: by, name: string(name)}
	if by.IsItself() {
		rows, err := readFresh(ctx, d, f, plain(readSealed, []any{[]string{q.name}, versionArg(version)}, storedRow))
		return rows, vault.Identity{}, err
	}
	a, err := d.readOne(ctx, q, version, f)
	if err == nil && a.who.Cause == vault.CauseTokenUnknown && !f.Primary {
		f.Primary = true // the token may be a new one, which the reader has not replayed
		if known, perr := d.readOne(ctx, q, version, f); perr == nil {
			a = known
		}
	}
	if err == nil {
		err = a.who.Refusal(by, "read")
	}
	if err != nil {
		return nil, a.who, d.classify(err)
	}
	return a.rows, a.who, nil
}

// readOne joins the reads that wait, if it may be what they share.
func (d *DB) readOne(ctx context.Context, q readQuestion, version uint64, f vault.Freshness) (readAnswer, error) {
	if version == 0 && f == (vault.Freshness{}) {
		return d.current.read(ctx, q)
	}
	found, err := readFresh(ctx, d, f, pickRead([]readQuestion{q}, version, storedResults()))
	if err != nil {
		return readAnswer{}, err
	}
	var a readAnswer
	for _, r := range found {
		a.take(r)
	}
	return a, a.err
}

// ReadSealedOnWriter implements vault.Store.
func (d *DB) ReadSealedOnWriter(ctx context.Context, name core.Name) (vault.StoredValue, error) {
	rows, err := readPrimary(ctx, d, readSealed, []any{[]string{string(name)}, nil}, storedRow)
	switch {
	case err != nil:
		return vault.StoredValue{}, err
	case len(rows) == 0:
		return vault.StoredValue{}, core.Errorf(core.NotFound, "no such secret")
	case len(rows) > 1:
		return vault.StoredValue{}, core.Errorf(core.Corrupt, "the name is stored more than once")
	}
	return rows[0], nil
}

// decided makes a text that calls a function if a decision about a name, or NULL, allows it.
func decided(right, name, function string) string {
	return "SELECT d.cause, d.actor, d.acting, i.* FROM vault.decide($1::bytea, $2::inet, $3::jsonb, '" + right + "', " + name + ") d " +
		"LEFT JOIN LATERAL (SELECT f.* FROM " + function + " f WHERE d.cause IS NULL) i ON true"
}

var verifiable = decided("verify", "$4::text", "vault.read_verifiable($4::text)")

// ReadVerifiable implements vault.Store.
func (d *DB) ReadVerifiable(ctx context.Context, by vault.Credential, name core.Name, f vault.Freshness) ([]vault.StoredValue, vault.Identity, error) {
	rows := storedResults()
	return decidedRead(ctx, d, f, decidedQuery[vault.StoredValue]{
		by: by, right: "verify", sql: verifiable, args: []any{string(name)}, undecided: "SELECT * FROM vault.read_verifiable($1::text)",
		row: func(scan scanner) (vault.StoredValue, bool, error) {
			s, ok, err := rows(scan)
			if err == nil && ok {
				err = s.err
			}
			return s.StoredValue, ok, err
		},
	})
}

const (
	describeSecret = "SELECT * FROM vault.describe_state($1::text)"
	// describeLegacy has the columns of vault.secret_state too.
	describeLegacy = "SELECT i.*, NULL::bigint, NULL::boolean, NULL::bigint, NULL::boolean FROM vault.describe_secret($1::text) i"
)

// describing is describeSecret for those who may do an action with the name.
var describing = map[string]string{
	"list":   describingFor("list"),
	"update": describingFor("update"),
	"rotate": describingFor("rotate"),
	"delete": describingFor("delete"),
}

func describingFor(right string) string {
	return decided(right, "$4::text", "vault.describe_state($4::text)")
}

func describeQuestion(by vault.Credential, right string, name core.Name) decidedQuery[vault.SecretResult] {
	return decidedQuery[vault.SecretResult]{
		by: by, right: right, sql: describing[right], args: []any{string(name)}, undecided: describeSecret, row: secretState,
		legacy: func() (string, error) { return describeLegacy, nil },
	}
}

// DescribeSecret implements vault.Store.
func (d *DB) DescribeSecret(ctx context.Context, by vault.Credential, name core.Name, f vault.Freshness) (vault.Secret, vault.Identity, error) {
	rows, who, err := decidedRead(ctx, d, f, describeQuestion(by, "list", name))
	s, err := oneSecret(rows, err)
	if err != nil {
		return vault.Secret{}, who, err
	}
	return s, who, nil
}

// DescribeSecretOnWriter implements vault.Store.
func (d *DB) DescribeSecretOnWriter(ctx context.Context, by vault.Credential, action vault.Action, name core.Name) (vault.Secret, vault.Identity, error) {
	right, describe := vault.RightOf(action), d.describeForChange
	if by.IsItself() {
		describe = d.describeUndecided
	}
	rows, who, err := describe(ctx, lookQuestion{by, right, string(name)})
	s, err := oneSecret(rows, err)
	return s, who, err
}

func oneSecret(rows []vault.SecretResult, err error) (vault.Secret, error) {
	switch {
	case err != nil:
		return vault.Secret{}, err
	case len(rows) == 0:
		return vault.Secret{}, core.Errorf(core.NotFound, "no such secret")
	case len(rows) > 1:
		return vault.Secret{}, core.Errorf(core.Corrupt, "the name is stored more than once")
	}
	return rows[0].Secret, rows[0].Err
}

const (
	describeSecrets = `SELECT x.* FROM vault.describe_secrets($1::text, $2::text, $3::integer) i
	CROSS JOIN LATERAL vault.describe_state(i.name) x ORDER BY x.name COLLATE "C"`
	describeSecretsLegacy = "SELECT i.*, NULL::bigint, NULL::boolean, NULL::bigint, NULL::boolean FROM vault.describe_secrets($1::text, $2::text, $3::integer) i"
)

var listing = decided("list", "NULL", "vault.describe_visible(d.role, d.scopes, $4::text, $5::text, $6::integer)")

// DescribeSecrets implements vault.Store.
func (d *DB) DescribeSecrets(ctx context.Context, by vault.Credential, prefix, after string, limit int, f vault.Freshness) (
	[]vault.SecretResult, vault.Identity, error,
) {
	return decidedRead(ctx, d, f, decidedQuery[vault.SecretResult]{
		by: by, right: "list", sql: listing, args: []any{prefix, after, int32(limit)},
		undecided: describeSecrets, row: secretState, legacy: func() (string, error) { return describeSecretsLegacy, nil },
	})
}

var searching = decided("list", "NULL", "vault.search_visible(d.role, d.scopes, $4::text, $5::text, $6::text, $7::integer)")

// SearchSecrets implements vault.Store. The process itself searches nothing.
func (d *DB) SearchSecrets(ctx context.Context, by vault.Credential, part, prefix, after string, limit int, f vault.Freshness) (
	[]vault.SecretResult, vault.Identity, error,
) {
	return decidedRead(ctx, d, f, decidedQuery[vault.SecretResult]{
		by: by, right: "list", sql: searching, args: []any{part, prefix, after, int32(limit)}, row: secretState, legacy: errNewer,
	})
}

// errNewer answers for a schema of protocol 1, which has no such function.
func errNewer() (string, error) {
	return "", core.Errorf(core.Unavailable, "the schema of the database is too old for this: run ALTER EXTENSION hyperion_vault UPDATE")
}

const (
	describeVersions       = "SELECT * FROM vault.describe_versions($1::text)"
	describeVersionsLegacy = "SELECT i.*, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz FROM vault.describe_versions($1::text) i"
)

var versions = decided("list", "$4::text", "vault.version_states($4::text)")

// DescribeVersions implements vault.Store.
func (d *DB) DescribeVersions(ctx context.Context, by vault.Credential, name core.Name, f vault.Freshness) ([]vault.VersionInfo, vault.Identity, error) {
	return decidedRead(ctx, d, f, decidedQuery[vault.VersionInfo]{
		by: by, right: "list", sql: versions, args: []any{string(name)}, undecided: "SELECT * FROM vault.version_states($1::text)", row: versionState,
		legacy: func() (string, error) { return describeVersionsLegacy, nil },
	})
}
