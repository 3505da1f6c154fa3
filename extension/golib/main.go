// Command golib is built with -buildmode=c-shared as hyperion_vault_go.so: the part of the extension that seals,
// opens and checks inside a PostgreSQL backend. The C shim opens it after fork, in the process that needs it.
//
// Go computes, C waits: an export is a pure function over byte buffers. It does no network, files or environment,
// starts no goroutine that outlives it and never calls back into PostgreSQL, whose errors are longjmps that must
// not cross a Go frame. Every export recovers: an escaped panic would be SIGABRT and a restart of the server.
//
// Build it with -ldflags '-X runtime.godebugDefault=asyncpreemptoff=1': Go preempts goroutines with SIGURG, the
// signal with which PostgreSQL wakes a waiting backend.
package main

// #include "../shim/abi.h"
import "C"

import (
	"runtime"
	"runtime/debug"
)

func init() {
	// A trace of Go frames in the server log helps no reader there and may show arguments.
	debug.SetTraceback("none")
	// One call at a time comes from a backend; more Ps would only be more threads in every session.
	runtime.GOMAXPROCS(1)
}

// HvgABI returns the number of the border that this library was built for. It can be called whatever the shim expects.
//
//export HvgABI
func HvgABI() C.int { return C.HV_ABI_VERSION }

func main() {}
