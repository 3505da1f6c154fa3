package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

func TestErrorCodesAndMessages(t *testing.T) {
	cause := errors.New("dial 10.0.0.1: refused")
	var none *core.Error
	tests := []struct {
		name      string
		err       error
		code      core.Code
		msg, text string
	}{
		{"Nil", nil, "", "", ""},
		{"Plain", io.EOF, core.Internal, "internal error", "EOF"},
		{"Errorf", core.Errorf(core.NotFound, "no secret %q", "a"), core.NotFound, `no secret "a"`, `no secret "a"`},
		{"Wrap", core.Wrap(core.Unavailable, cause, "database is away"), core.Unavailable, "database is away", "database is away: dial 10.0.0.1: refused"},
		{"Internal", core.Wrap(core.Internal, cause, "cannot happen"), core.Internal, "internal error", "cannot happen: dial 10.0.0.1: refused"},
		{"Inside", fmt.Errorf("read: %w", core.Errorf(core.Stale, "version 3 is not current")), core.Stale, "version 3 is not current", "read: version 3 is not current"},
		{"Outermost", core.Wrap(core.Corrupt, core.Errorf(core.Invalid, "inner"), "outer"), core.Corrupt, "outer", "outer: inner"},
		{"Canceled", fmt.Errorf("query: %w", context.Canceled), core.Unavailable, "the operation was canceled or ran out of time", "query: context canceled"},
		{"Deadline", context.DeadlineExceeded, core.Unavailable, "the operation was canceled or ran out of time", "context deadline exceeded"},
		{"CodeBeatsContext", core.Wrap(core.Denied, context.Canceled, "no"), core.Denied, "no", "no: context canceled"},
		{"NoCode", &core.Error{Msg: "secret text"}, core.Internal, "internal error", "secret text"},
		{"NoMsg", &core.Error{Code: core.Denied}, core.Denied, "denied", "denied"},
		{"NoMsgCause", &core.Error{Code: core.Denied, Err: cause}, core.Denied, "denied", cause.Error()},
		{"NilError", fmt.Errorf("x: %w", none), core.Internal, "internal error", "x: internal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := core.CodeOf(tt.err); got != tt.code {
				t.Errorf("CodeOf = %q, want %q", got, tt.code)
			}
			if got := core.MessageOf(tt.err); got != tt.msg {
				t.Errorf("MessageOf = %q, want %q", got, tt.msg)
			}
			if tt.err != nil && tt.err.Error() != tt.text {
				t.Errorf("Error = %q, want %q", tt.err, tt.text)
			}
		})
	}
}

func TestErrorUnwraps(t *testing.T) {
	if err := core.Wrap(core.Unavailable, io.EOF, "read"); !errors.Is(err, io.EOF) {
		t.Error("the cause is not in the chain")
	}
}

func TestCodeKnown(t *testing.T) {
	for _, c := range []core.Code{"invalid", "too_large", "unauthenticated", "denied", "not_found", "exists", "stale", "unavailable", "corrupt", "internal"} {
		if !c.Known() {
			t.Errorf("%q is not known", c)
		}
	}
	for _, c := range []core.Code{"", "conflict", "Invalid", "invalid "} {
		if c.Known() {
			t.Errorf("%q is known", c)
		}
	}
}

// TestErrorSaysNothingTwice goes through every nesting of a few texts: no message stands twice in what the operator reads,
// and none is lost.
func TestErrorSaysNothingTwice(t *testing.T) {
	texts := []string{"the database cannot be reached", "the database", "no answer", "dial: refused"}
	var nest func(err error, used []string, depth int)
	nest = func(err error, used []string, depth int) {
		said := ": " + strings.ReplaceAll(err.Error(), "\n", ": ") + ": "
		for _, x := range used {
			if n := strings.Count(said, ": "+x+": "); n != 1 {
				t.Errorf("%q stands %d times in %q", x, n, err)
			}
		}
		if depth == 0 {
			return
		}
		for _, x := range texts {
			nest(core.Wrap(core.Unavailable, err, "%s", x), append(used[:len(used):len(used)], x), depth-1)
			nest(core.Wrap(core.Unavailable, errors.Join(io.EOF, err), "%s", x), append(used[:len(used):len(used)], x), depth-1)
			nest(core.Wrap(core.Unavailable, fmt.Errorf("now: %w", err), "%s", x), append(used[:len(used):len(used)], x), depth-1)
		}
	}
	for _, x := range texts[:3] {
		nest(core.Errorf(core.Unavailable, "%s", x), []string{x}, 4)
	}
}
