package store

import (
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// newCreation is a new secret by an author that has the right.
type newCreation struct {
	s    *vault.NewSecret
	tags []byte // as JSON; nil = none
	by   vault.Author
}

func (c newCreation) secretName() core.Name { return c.s.Name }

// fits leaves out what a vault has few of: secrets with a policy, or with a rotation.
func (c newCreation) fits() bool {
	s := c.s
	return isCaller(c.by) && s.Kind == core.Manual && s.GeneratePolicy == nil && s.RotationIntervalSecs == 0 &&
		s.Rotation == (vault.Rotation{KeepVersions: s.Rotation.KeepVersions}) &&
		len(s.Sealed.Ciphertext)+len(s.Description)+len(c.tags) <= groupedBytes
}

var createGroup = groupKind[newCreation]{
	sql: `WITH q (` + callerNames + `, id, version, envelope, key, wrapped, nonce, sealed, type, description, tags, grace, keep, guarded, life, n)
		AS (SELECT * FROM unnest(` + callerArrays + `, $7::uuid[], $8::bigint[], $9::smallint[], $10::text[], $11::bytea[], $12::bytea[], $13::bytea[],
		$14::text[], $15::text[], $16::jsonb[], $17::bigint[], $18::integer[], $19::boolean[], $20::bigint[]) WITH ORDINALITY)
	SELECT q.n::integer, i.* FROM q CROSS JOIN LATERAL vault.store_if_free(` + callerOf + `, q.id, q.version,
		ROW(q.envelope, q.key, q.wrapped, q.nonce, q.sealed)::vault.sealed_value, 'manual', q.type,
		ROW(q.description, q.tags, NULL, NULL, NULL, NULL, NULL, q.grace, q.keep, NULL)::vault.secret_settings,
		ROW(q.guarded, q.life)::vault.version_settings) i`,
	args: argsOfCreations,
	row:  secretState,
}

// creationColumns are the arguments of what new secrets are, but for their values.
type creationColumns struct {
	types, descriptions []string
	tags                [][]byte
	graces              []int64
	kept                []int32
	guarded             []bool
	lives               []int64
}

func (c *creationColumns) add(s *vault.NewSecret, tags []byte) {
	c.types, c.descriptions, c.tags = append(c.types, string(s.ContentType)), append(c.descriptions, s.Description), append(c.tags, tags)
	c.graces, c.kept = append(c.graces, s.GracePeriodSecs), append(c.kept, int32(s.Rotation.KeepVersions))
	c.guarded, c.lives = append(c.guarded, s.CASRequired), append(c.lives, s.DeleteVersionAfterSecs)
}

func (c *creationColumns) args() []any {
	return []any{c.types, c.descriptions, c.tags, c.graces, c.kept, c.guarded, c.lives}
}

func argsOfCreations(creations []newCreation) []any {
	var callers callerColumns
	var values sealedColumns
	var rest creationColumns
	var ids [][16]byte
	var versions []int64
	for _, c := range creations {
		callers.add(c.by, "create", c.s.Name)
		values.add(c.s.Sealed)
		rest.add(c.s, c.tags)
		ids, versions = append(ids, c.s.ID), append(versions, int64(c.s.Version))
	}
	args := append(callers.args(), ids, versions)
	return append(append(args, values.args()...), rest.args()...)
}
