package main

/*
#include "../shim/abi.h"
*/
import "C"

import (
	"crypto/rand"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/generate"
	"github.com/hyperiondb/hyperion-vault/core/rotation"
)

//export HvgCheckName
func HvgCheckName(name C.HvBytes, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		_, err := core.ParseName(text(name))
		return err
	})
}

//export HvgCheckPattern
func HvgCheckPattern(pattern C.HvBytes, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		_, err := core.ParsePattern(text(pattern))
		return err
	})
}

//export HvgCheckPrefix
func HvgCheckPrefix(prefix C.HvBytes, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		_, err := core.ParsePrefix(text(prefix))
		return err
	})
}

// HvgContentType fills out with the canonical form of a content type.
//
//export HvgContentType
func HvgContentType(contentType C.HvBytes, out *C.HvBuf, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		t, err := core.ParseContentType(text(contentType))
		if err == nil {
			*out = give([]byte(t))
		}
		return err
	})
}

// HvgCheckPolicy checks a generation policy, as JSON.
//
//export HvgCheckPolicy
func HvgCheckPolicy(policy C.HvBytes, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		p, err := generate.Parse(view(policy))
		if err != nil {
			return err
		}
		return p.CheckStrength()
	})
}

// HvgPolicyField says whether a generation policy replaces one field of the current value, rather than all of it.
//
//export HvgPolicyField
func HvgPolicyField(policy C.HvBytes, replaces *C.int, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		p, err := generate.Parse(view(policy))
		*replaces = 0
		if err == nil && p.JSONField != "" {
			*replaces = 1
		}
		return err
	})
}

// HvgCheckField refuses a value without the field that rotations after policy replace, and a policy that does not fit
// the content type. An empty value, which no secret has, leaves only the second.
//
//export HvgCheckField
func HvgCheckField(policy C.HvBytes, automatic C.int, contentType, value C.HvBytes, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		p, err := generate.Parse(view(policy))
		if err != nil {
			return err
		}
		ct := core.ContentType(text(contentType))
		switch {
		case p.JSONField == "" && ct == core.JSON && automatic != 0:
			return core.Errorf(core.Invalid, "an automatic secret of JSON needs a generate_policy with a json_field")
		case p.JSONField == "":
			return nil
		case ct != core.JSON:
			return core.Errorf(core.Invalid, "json_field is for secrets of the content type application/json")
		case value.len == 0:
			return nil
		}
		return p.CheckDocument(view(value))
	})
}

// HvgReplace fills out with current, whose one field named by policy is generated again.
//
//export HvgReplace
func HvgReplace(policy, current C.HvBytes, out *C.HvBuf, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		p, err := generate.Parse(view(policy))
		if err != nil {
			return err
		}
		value, err := p.Replace(view(current), rand.Reader)
		return usePlain(value, err, func(value []byte) { *out = give(value) })
	})
}

// HvgLogin fills out with the user and the password that a value has; the user is empty if the value names none.
//
//export HvgLogin
func HvgLogin(contentType, value C.HvBytes, username, password *C.HvBuf, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		user, secret, err := generate.Login(core.ContentType(text(contentType)), view(value))
		return usePlain(secret, err, func(secret []byte) { *username, *password = give([]byte(user)), give(secret) })
	})
}

// HvgSetUsername fills out with a JSON value whose field username names another user.
//
//export HvgSetUsername
func HvgSetUsername(value, username C.HvBytes, out *C.HvBuf, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		changed, err := generate.SetField(view(value), "username", text(username))
		return usePlain(changed, err, func(changed []byte) { *out = give(changed) })
	})
}

// HvgCheckSchedule checks a cron schedule.
//
//export HvgCheckSchedule
func HvgCheckSchedule(schedule C.HvBytes, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		_, err := rotation.Parse(text(schedule))
		return err
	})
}

//export HvgCheckValue
func HvgCheckValue(contentType, value C.HvBytes, limit C.int64_t, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		return core.ContentType(text(contentType)).CheckValue(view(value), int(limit))
	})
}

// HvgCheckText refuses a content type whose values PostgreSQL's text cannot hold. given says that the value is given by
// the caller and not read.
//
//export HvgCheckText
func HvgCheckText(contentType C.HvBytes, given C.int, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		t := core.ContentType(text(contentType))
		switch {
		case t.IsText():
			return nil
		case given != 0:
			return core.Errorf(core.Invalid, "content type %s is not text; give the value as bytea, with the cast ::bytea", t)
		default:
			return core.Errorf(core.Invalid, "content type %s is not text; vault.read_secret_bytes() returns its bytes", t)
		}
	})
}

// HvgGenerate fills out with a new random value after policy, which may be empty for the default.
//
//export HvgGenerate
func HvgGenerate(policy C.HvBytes, out *C.HvBuf, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		p, err := generate.Parse(view(policy))
		if err != nil {
			return err
		}
		value, err := p.Generate(rand.Reader)
		return usePlain(value, err, func(value []byte) { *out = give(value) })
	})
}

// HvgFault fails on purpose, for the tests of the shim: 1 panics, 2 dereferences nil, 3 divides by zero, other
// values return an error. No SQL function of the extension calls it.
//
//export HvgFault
func HvgFault(kind C.int, failure *C.HvError) C.int {
	return guarded(failure, func() error {
		var none *int
		zero := 0
		switch kind {
		case 1:
			panic("on purpose")
		case 2:
			*none = 1
		case 3:
			_ = 1 / zero
		}
		return core.Errorf(core.Invalid, "fault %d on purpose", int(kind))
	})
}
