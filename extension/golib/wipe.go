package main

import (
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// What holds a key or a value here is wiped in this file, so that every export does it in the same way.

// useAnswer calls use with the response to op that body carries, and then wipes its keys, whatever comes of it. They are
// those in body, which belongs to the C side.
func useAnswer(body []byte, op frame.Op, keys int, use func(*frame.Response) error) error {
	r, err := frame.ParseResponse(body)
	if err != nil {
		return core.Wrap(core.Unavailable, err, "the key agent sent a malformed answer")
	}
	defer r.Wipe()
	if r.Code != "" {
		return core.Errorf(r.Code, "key agent: %s", r.Msg)
	}
	if r.Op != op || len(r.Keys) != keys {
		return core.Errorf(core.Unavailable, "the key agent sent an answer to another question")
	}
	for _, k := range r.Keys {
		if len(k) != envelope.KeySize {
			return core.Errorf(core.Unavailable, "the key agent sent a key of a wrong length")
		}
	}
	return use(r)
}

// useValue opens s, calls use with the value, and wipes it.
func useValue(key []byte, b envelope.Binding, s envelope.Sealed, use func(value []byte)) error {
	value, err := envelope.Open(key, b, s)
	return usePlain(value, err, use)
}

// usePlain calls use with value unless there is an error, and wipes value.
func usePlain(value []byte, err error, use func(value []byte)) error {
	defer envelope.Wipe(value)
	if err == nil {
		use(value)
	}
	return err
}
