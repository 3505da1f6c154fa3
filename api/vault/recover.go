package vault

import (
	"context"
)

// Recover is Read for an operator at a shell of the node with the recovery key: the Vault's keeper must be one that
// unwraps with it. The caller wipes the result. Errors as Read, and those of the keeper.
func (v *Vault) Recover(ctx context.Context, op Operator, name string, version uint64) (Value, error) {
	a := v.tryOperator(op, ActionRead, name)
	a.entry.Version = version
	return perform(ctx, a.operate(op), func(ctx context.Context) (out Value, err error) {
		out, err = a.read(ctx, name, version, Freshness{})
		if err == nil {
			a.entry.Version = out.Version
		}
		return out, err
	})
}
