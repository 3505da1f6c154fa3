package main

/*
// No -I: cgo makes its path absolute, and the path would change the build id of the library.
#include <stdlib.h>
#include <string.h>
#include "../shim/abi.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// view returns the bytes that b borrows, without a copy; they are valid until the export returns.
func view(b C.HvBytes) []byte {
	if b.len == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(b.data)), int(b.len))
}

func text(b C.HvBytes) string { return string(view(b)) }

// give copies b to malloc'd memory that the C side wipes and frees.
func give(b []byte) C.HvBuf {
	if len(b) == 0 {
		return C.HvBuf{}
	}
	return C.HvBuf{data: (*C.uchar)(C.CBytes(b)), len: C.size_t(len(b))}
}

// guarded runs do, turns its error, or a panic, into *failure, and returns what the export returns to C.
// The text of a panic is not passed on: it may quote what it failed on.
func guarded(failure *C.HvError, do func() error) (rc C.int) {
	defer func() {
		if p := recover(); p != nil {
			rc = fail(failure, core.Internal, "internal error: a panic in hyperion_vault_go was recovered: "+core.Recovered(p).Msg)
		}
	}()
	if err := do(); err != nil {
		return fail(failure, core.CodeOf(err), core.MessageOf(err))
	}
	return 0
}

func fail(failure *C.HvError, code core.Code, message string) C.int {
	put := func(dst []C.char, s string) {
		n := min(len(s), len(dst)-1)
		for i := range n {
			dst[i] = C.char(s[i])
		}
		dst[n] = 0
	}
	put(failure.code[:], string(code))
	put(failure.message[:], message)
	return 1
}

func secretID(b C.HvBytes) (core.SecretID, error) {
	var id core.SecretID
	if copy(id[:], view(b)) != len(id) || b.len != C.size_t(len(id)) {
		return id, core.Errorf(core.Internal, "secret id is %d bytes, not %d", int(b.len), len(id))
	}
	return id, nil
}

func binding(b *C.HvBinding) (envelope.Binding, error) {
	id, err := secretID(b.id)
	if err != nil {
		return envelope.Binding{}, err
	}
	if b.version < 1 {
		return envelope.Binding{}, core.Errorf(core.Corrupt, "version %d is not positive", int64(b.version))
	}
	return envelope.Binding{
		ID:          id,
		Name:        core.Name(text(b.name)),
		Version:     uint64(b.version),
		ContentType: core.ContentType(text(b.content_type)),
	}, nil
}

func sealedOf(s *C.HvStored) envelope.Sealed {
	return envelope.Sealed{
		EnvelopeVersion: int16(s.envelope_version),
		Nonce:           view(s.nonce),
		Ciphertext:      view(s.ciphertext),
	}
}

func originOf(o *C.HvOrigin) frame.Origin {
	return frame.Origin{
		Database:    text(o.database),
		Role:        text(o.role),
		SessionRole: text(o.session_role),
		ClientAddr:  text(o.client_addr),
		RequestID:   text(o.request_id),
	}
}

func request(r *frame.Request, out *C.HvBuf) error {
	wire, err := frame.AppendRequest(nil, r)
	if err != nil {
		return fmt.Errorf("encode request to the key agent: %w", err)
	}
	*out = give(wire)
	return nil
}
