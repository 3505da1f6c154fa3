package agent

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// dispatch asks the door for what req wants. The keys in the response are the caller's to wipe.
func dispatch(ctx context.Context, door Door, req *frame.Request) (*frame.Response, error) {
	caller := vault.SQLCaller{
		Database: req.Origin.Database, Role: req.Origin.Role, SessionRole: req.Origin.SessionRole,
		ClientAddr: req.Origin.ClientAddr, RequestID: req.Origin.RequestID,
	}
	switch req.Op {
	case frame.OpGenerate:
		return generate(ctx, door, caller, req)
	case frame.OpUnwrap:
		return unwrap(ctx, door, caller, req)
	case frame.OpReadEach:
		return readEach(ctx, door, caller, req)
	case frame.OpLease:
		return lease(ctx, door, caller, req)
	case frame.OpRecord:
		return &frame.Response{Op: req.Op}, door.RecordForSQL(ctx, caller, vault.SQLAttempt{
			Action: vault.Action(req.Action), Name: req.Name, Version: req.Version,
			Outcome: vault.Outcome(req.Outcome), Code: req.Code,
		})
	}
	return nil, core.Errorf(core.Invalid, "the key agent does not know this operation")
}

func generate(ctx context.Context, door Door, caller vault.SQLCaller, req *frame.Request) (*frame.Response, error) {
	key, err := door.GenerateForSQL(ctx, caller, vault.SQLGenerate{
		Action: vault.Action(req.Action), Name: req.Name, ID: req.ID, Version: req.Version,
	})
	if err != nil {
		return nil, err
	}
	return &frame.Response{Op: req.Op, Keys: [][]byte{key.Plain}, KeyID: key.KeyID, Wrapped: key.Wrapped}, nil
}

func unwrap(ctx context.Context, door Door, caller vault.SQLCaller, req *frame.Request) (*frame.Response, error) {
	keys := make([]vault.VersionedKey, len(req.Keys))
	for i, k := range req.Keys {
		keys[i] = vault.VersionedKey{
			Version: k.Version, WrappedKey: vault.WrappedKey{KeyID: k.KeyID, Wrapped: k.Wrapped},
		}
	}
	plain, err := door.UnwrapForSQL(ctx, caller, vault.SQLUnwrap{
		Action: vault.Action(req.Action), Name: req.Name, ID: req.ID, Keys: keys,
	})
	if err != nil {
		return nil, err
	}
	return &frame.Response{Op: req.Op, Keys: plain}, nil
}

func readEach(ctx context.Context, door Door, caller vault.SQLCaller, req *frame.Request) (*frame.Response, error) {
	items := make([]vault.SQLItem, len(req.Items))
	for i, it := range req.Items {
		items[i] = vault.SQLItem{Name: it.Name, Code: it.Code, ID: it.ID, Key: vault.VersionedKey{
			Version: it.Key.Version, WrappedKey: vault.WrappedKey{KeyID: it.Key.KeyID, Wrapped: it.Key.Wrapped},
		}}
	}
	keys, err := door.ReadEachForSQL(ctx, caller, items)
	if err != nil {
		return nil, err
	}
	resp := &frame.Response{Op: req.Op, Results: make([]frame.Result, len(keys))}
	for i, k := range keys {
		r := &resp.Results[i]
		if r.Key = k.Plain; k.Err != nil {
			r.Key, r.Code, r.Msg = nil, core.CodeOf(k.Err), message(k.Err, frame.MaxItemMsgLen)
		}
	}
	return resp, nil
}
