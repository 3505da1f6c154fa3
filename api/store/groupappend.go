package store

import (
	"net/netip"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// newAppend is a change of a value by an author that has the right.
type newAppend struct {
	v     vault.NewVersion
	by    vault.Author
	right string
}

func (a newAppend) secretName() core.Name { return a.v.Name }

func (a newAppend) fits() bool {
	v := a.v
	return isCaller(a.by) && !v.Reschedule && v.Description == nil && v.Tags == nil && v.GracePeriodSecs == nil &&
		len(v.Sealed.Ciphertext) <= groupedBytes
}

// isCaller reports whether an author is one about whom a group decides: by a stored token or none.
func isCaller(by vault.Author) bool { return !by.By.IsItself() && by.By.Claims == "" }

var (
	appendGroup             = groupOfAppends("append_if_free", "", "", argsOfAppends)
	appendWithVerifierGroup = groupOfAppends("append_with_verifier_if_free", ", $15::text[], $16::text[]", ", verifier, role", argsOfPasswords)
)

// groupOfAppends calls a function with the arguments of a change, and with more in the columns that are named.
func groupOfAppends(function, more, names string, args func([]newAppend) []any) groupKind[newAppend] {
	return groupKind[newAppend]{
		sql: `SELECT q.n::integer, i.* FROM unnest(` + callerArrays + `, $7::uuid[], $8::bigint[], $9::smallint[], $10::text[], $11::bytea[],
			$12::bytea[], $13::bytea[], $14::text[]` + more + `)
			WITH ORDINALITY AS q (` + callerNames + `, id, expected, envelope, key, wrapped, nonce, sealed, action` + names + `, n)
		CROSS JOIN LATERAL vault.` + function + `(` + callerOf + `, q.id, q.expected,
			ROW(q.envelope, q.key, q.wrapped, q.nonce, q.sealed)::vault.sealed_value, q.action` + names + `) i`,
		args: args,
		row: func(scan scanner) (vault.SecretResult, bool, error) {
			var f secretFields
			err := scan(f.targets()...)
			return f.result(), f.id.Valid || f.name.Valid, err
		},
	}
}

// The callers of the changes of a group, which begin the arguments of its statement.
const (
	callerArrays = "$1::bytea[], $2::inet[], $3::text[], $4::text[], $5::text[], $6::text[]"
	callerNames  = `fingerprint, address, "right", name, node, request`
	callerOf     = `q.fingerprint, q.address, NULL, q."right", q.name, q.node, nullif(q.request, '')`
)

// callerColumns are the first arguments of a group's statement.
type callerColumns struct {
	fingerprints                   [][]byte
	addresses                      []netip.Addr
	rights, names, nodes, requests []string
}

func (c *callerColumns) add(by vault.Author, right string, name core.Name) {
	var fingerprint []byte
	if by.By.Fingerprint != ([32]byte{}) {
		fingerprint = by.By.Fingerprint[:]
	}
	c.fingerprints, c.addresses = append(c.fingerprints, fingerprint), append(c.addresses, by.By.Addr)
	c.rights, c.names = append(c.rights, right), append(c.names, string(name))
	c.nodes, c.requests = append(c.nodes, by.Node), append(c.requests, by.RequestID)
}

func (c *callerColumns) args() []any {
	return []any{c.fingerprints, c.addresses, c.rights, c.names, c.nodes, c.requests}
}

// sealedColumns are the arguments of sealed values.
type sealedColumns struct {
	envelopes              []int16
	keys                   []string
	wrapped, nonce, sealed [][]byte
}

func (c *sealedColumns) add(s vault.SealedValue) {
	c.envelopes, c.keys = append(c.envelopes, s.EnvelopeVersion), append(c.keys, s.Key.KeyID)
	c.wrapped, c.nonce, c.sealed = append(c.wrapped, s.Key.Wrapped), append(c.nonce, s.Nonce), append(c.sealed, s.Ciphertext)
}

func (c *sealedColumns) args() []any {
	return []any{c.envelopes, c.keys, c.wrapped, c.nonce, c.sealed}
}

func argsOfAppends(appends []newAppend) []any {
	var callers callerColumns
	var values sealedColumns
	var ids [][16]byte
	var expected []int64
	var actions []string
	for _, a := range appends {
		callers.add(a.by, a.right, a.v.Name)
		values.add(a.v.Sealed)
		ids, expected, actions = append(ids, a.v.ID), append(expected, int64(a.v.Expected)), append(actions, string(a.v.Action))
	}
	args := append(callers.args(), ids, expected)
	return append(append(args, values.args()...), actions)
}

// argsOfPasswords is argsOfAppends of values that are passwords of roles.
func argsOfPasswords(appends []newAppend) []any {
	var verifiers, roles []string
	for _, a := range appends {
		verifiers, roles = append(verifiers, a.v.Password.Verifier), append(roles, a.v.Password.Role)
	}
	return append(argsOfAppends(appends), verifiers, roles)
}
