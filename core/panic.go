package core

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
)

// maxFrames bounds how much of a stack an error names.
const maxFrames = 12

var panics atomic.Uint64

// Panics returns how many panics this process has recovered from. Safe for concurrent use.
func Panics() uint64 { return panics.Load() }

// Recovered turns what recover returned into an Internal error. The error names the type of the panic and up to 12
// functions with their lines, innermost first. It leaves out the panic's value and all arguments, because they may hold a
// secret. The deferred function itself must call it. If p is an error that Recovered made, raised
// again in another goroutine, it is returned unchanged and not counted again. Safe for concurrent use.
func Recovered(p any) *Error {
	if e, again := p.(*Error); again && e.recovered {
		return e
	}
	panics.Add(1)
	return &Error{Code: Internal, Msg: fmt.Sprintf("panic of type %T at %s", p, panicPlace()), recovered: true}
}

// panicPlace lists the frames below the panic.
func panicPlace() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	var places []string
	for below, more := false, true; more && len(places) < maxFrames; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case f.Function == "runtime.gopanic" || f.Function == "runtime.sigpanic" || f.Function == "runtime.panicmem":
			below, places = true, nil
		case below && !strings.HasPrefix(f.Function, "runtime."):
			places = append(places, fmt.Sprintf("%s:%d", f.Function[strings.LastIndex(f.Function, "/")+1:], f.Line))
		}
	}
	return strings.Join(places, " ")
}
