// Command hyperion-vault-api serves the REST API and the key agent of a HyperionDB Vault node, and manages admin
// tokens. It is set by the environment alone (package config); "hyperion-vault-api help" lists its commands.
//
// It exits with 0 when it is done, or was stopped by a signal and has answered everything in flight. It exits with 1
// when it failed while working, and with 2 when the settings or the arguments are wrong and nothing was started. A
// second signal ends it at once.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is set by the build.
var version = "dev"

const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run()) }

func run() int {
	if err := harden(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitFailed
	}
	collectLess()
	ctx, stop := untilSignal()
	defer stop()
	called, err := newCommand(program{environ: os.Environ, out: os.Stdout, errOut: os.Stderr}).ExecuteContextC(ctx)
	return report(os.Stderr, called.CommandPath(), err)
}

// gcPercent is by how much the heap may grow between two garbage collections. What lives in it is a few megabytes, and
// Go's own 100 would collect that many times a second under load, for a fifth of the CPU time of a read ("make bench").
const gcPercent = 400

// collectLess sets gcPercent, unless GOGC says otherwise. GOMEMLIMIT goes on to bound the whole.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// untilSignal returns a context that the first signal to stop cancels. Before it does, it gives the signals their
// default action back, so that a user who sees the process stopping can end it with a second one: signal.NotifyContext
// cancels first and would swallow a second signal that is quick.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			signal.Stop(signals)
			cancel()
		case <-ctx.Done():
			signal.Stop(signals)
		}
	}()
	return ctx, cancel
}
