package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Code is the kind of a failure. The text of each code is part of the API, because
// clients, SQL callers and the audit log see it. The empty Code means success.
type Code string

const (
	// Invalid: the input breaks a rule, and the same input will fail again.
	Invalid Code = "invalid"
	// TooLarge: the input is longer than a limit allows.
	TooLarge Code = "too_large"
	// Unauthenticated: no usable token came with the request.
	Unauthenticated Code = "unauthenticated"
	// Denied: the caller is known and may not do this.
	Denied Code = "denied"
	// TooMany: a quota is used up, or so many requests were refused that more are
	// rejected unchecked for a while.
	TooMany Code = "too_many"
	// NotFound: no such secret, version or token, or none the caller may know of.
	NotFound Code = "not_found"
	// Exists: the name is taken.
	Exists Code = "exists"
	// Stale: the version the caller wanted to replace is not the current one.
	Stale Code = "stale"
	// Unavailable: something that the operation needs is away. Only this code is
	// worth a retry.
	Unavailable Code = "unavailable"
	// Corrupt: stored data is not what was written.
	Corrupt Code = "corrupt"
	// Internal: everything else. Only the operator sees the reason.
	Internal Code = "internal"
)

var codes = []Code{
	Invalid, TooLarge, Unauthenticated, Denied, TooMany, NotFound, Exists, Stale,
	Unavailable, Corrupt, Internal,
}

// Known reports whether c is one of the constants above. The empty Code is not.
func (c Code) Known() bool { return slices.Contains(codes, c) }

const (
	internalMessage = "internal error"
	canceledMessage = "the operation was canceled or ran out of time"
)

// Error is the one error type of the vault. Code that makes an Error must not put
// a value, a token or a key into its text.
type Error struct {
	// Code is what the caller branches on. An empty Code counts as Internal.
	Code Code
	// Msg says what is wrong. A client may see it (see MessageOf).
	Msg string
	// Err is the cause. It goes to the operator's log only, and may be nil.
	Err error

	recovered bool // made by Recovered
}

// Errorf returns an Error without a cause. The text goes to clients unless code
// is Internal.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error with err as its cause. The text goes to clients unless
// code is Internal; that of err never does.
func Wrap(code Code, err error, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...), Err: err}
}

// Error returns the message and the cause, for the operator. It leaves out a message that the cause already contains, so
// that wrapping with the same text twice repeats nothing. Clients get MessageOf.
func (e *Error) Error() string {
	switch {
	case e == nil:
		return string(Internal)
	case e.Err == nil && e.Msg == "":
		return string(e.code())
	case e.Err == nil:
		return e.Msg
	case e.Msg == "":
		return e.Err.Error()
	}
	cause := e.Err.Error()
	if strings.Contains(": "+strings.ReplaceAll(cause, "\n", ": ")+": ", ": "+e.Msg+": ") { // errors.Join writes lines
		return cause
	}
	return e.Msg + ": " + cause
}

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

func (e *Error) code() Code {
	if e == nil || e.Code == "" {
		return Internal
	}
	return e.Code
}

// CodeOf returns the code of err. It is empty for nil. Otherwise it is the code of
// the outermost *Error in the chain, Unavailable for a context that was canceled or
// ran out of time, and Internal for anything else.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.code()
	}
	if isContextError(err) {
		return Unavailable
	}
	return Internal
}

// MessageOf returns the text about err that a client may see. It is empty for nil,
// and otherwise the message of the outermost *Error in the chain. It is a constant
// text when the code is Internal or there is no *Error. It never includes a cause.
func MessageOf(err error) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok && isContextError(err):
		return canceledMessage
	case !ok || e.code() == Internal:
		return internalMessage
	case e.Msg == "":
		return string(e.Code)
	}
	return e.Msg
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
