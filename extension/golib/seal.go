package main

/*
#include "../shim/abi.h"
*/
import "C"

import (
	"unsafe"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// HvgGenerateRequest fills out with a request for a new data key, bound to a secret and version.
//
//export HvgGenerateRequest
func HvgGenerateRequest(origin *C.HvOrigin, b *C.HvBinding, out *C.HvBuf, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		bound, err := binding(b)
		if err != nil {
			return err
		}
		return request(&frame.Request{
			Op: frame.OpGenerate, Origin: originOf(origin), ID: bound.ID, Version: bound.Version,
		}, out)
	})
}

// HvgUnwrapRequest fills out with a request for the data keys of n versions. action is "read" or "verify".
//
//export HvgUnwrapRequest
func HvgUnwrapRequest(origin *C.HvOrigin, action C.HvBytes, b *C.HvBinding, stored *C.HvStored, n C.int,
	out *C.HvBuf, failure *C.HvError,
) C.int {
	return guarded(failure, func() error {
		id, err := secretID(b.id)
		if err != nil {
			return err
		}
		r := &frame.Request{
			Op: frame.OpUnwrap, Origin: originOf(origin), Action: text(action), Name: text(b.name), ID: id,
		}
		for i := range unsafe.Slice(stored, int(n)) {
			s := &unsafe.Slice(stored, int(n))[i]
			if s.version < 1 {
				return core.Errorf(core.Corrupt, "version %d is not positive", int64(s.version))
			}
			r.Keys = append(r.Keys, frame.WrappedKey{
				Version: uint64(s.version), KeyID: text(s.key_id), Wrapped: view(s.wrapped),
			})
		}
		return request(r, out)
	})
}

// HvgRecordRequest fills out with the audit record of a refused or failed attempt. A version of 0 is none.
//
//export HvgRecordRequest
func HvgRecordRequest(origin *C.HvOrigin, action, name C.HvBytes, version C.int64_t, outcome, code C.HvBytes,
	out *C.HvBuf, failure *C.HvError,
) C.int {
	return guarded(failure, func() error {
		return request(&frame.Request{
			Op: frame.OpRecord, Origin: originOf(origin), Action: text(action), Name: text(name),
			Version: uint64(max(version, 0)), Outcome: text(outcome), Code: core.Code(text(code)),
		}, out)
	})
}

// HvgRecorded checks the answer to HvgRecordRequest.
//
//export HvgRecorded
func HvgRecorded(body C.HvBytes, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		return useAnswer(view(body), frame.OpRecord, 0, func(*frame.Response) error { return nil })
	})
}

// HvgSeal seals plaintext under the new data key that body, the answer to HvgGenerateRequest, carries.
//
//export HvgSeal
func HvgSeal(body C.HvBytes, b *C.HvBinding, plaintext C.HvBytes, out *C.HvSealed, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		bound, err := binding(b)
		if err != nil {
			return err
		}
		return useAnswer(view(body), frame.OpGenerate, 1, func(r *frame.Response) error {
			if r.KeyID == "" || len(r.Wrapped) == 0 {
				return core.Errorf(core.Unavailable, "the key agent sent no wrapped key")
			}
			s, err := envelope.Seal(r.Keys[0], bound, view(plaintext))
			if err != nil {
				return err
			}
			*out = C.HvSealed{
				envelope_version: C.int32_t(s.EnvelopeVersion),
				key_id:           give([]byte(r.KeyID)),
				wrapped:          give(r.Wrapped),
				nonce:            give(s.Nonce),
				ciphertext:       give(s.Ciphertext),
			}
			return nil
		})
	})
}

// HvgOpen fills out with the value of stored, opened with the data key in body.
//
//export HvgOpen
func HvgOpen(body C.HvBytes, b *C.HvBinding, stored *C.HvStored, out *C.HvBuf, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		bound, err := binding(b)
		if err != nil {
			return err
		}
		return useAnswer(view(body), frame.OpUnwrap, 1, func(r *frame.Response) error {
			return useValue(r.Keys[0], bound, sealedOf(stored), func(value []byte) { *out = give(value) })
		})
	})
}

// HvgVerify opens n versions with the data keys in body, in order, and compares each with candidate, whether or not
// an earlier one matched. matched is the first that did, 0 if none.
//
//export HvgVerify
func HvgVerify(body C.HvBytes, b *C.HvBinding, stored *C.HvStored, n C.int, candidate C.HvBytes,
	matched *C.int64_t, failure *C.HvError,
) C.int {
	return guarded(failure, func() error {
		bound, err := binding(b)
		if err != nil {
			return err
		}
		*matched = 0
		return useAnswer(view(body), frame.OpUnwrap, int(n), func(r *frame.Response) error {
			for i := range r.Keys {
				s := &unsafe.Slice(stored, int(n))[i]
				bound.Version = uint64(s.version)
				err := useValue(r.Keys[i], bound, sealedOf(s), func(value []byte) {
					if envelope.Equal(value, view(candidate)) && *matched == 0 {
						*matched = s.version
					}
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}
