// Command hyperion-vault-api serves the REST API and the key agent of a HyperionDB Vault node, and manages admin
// tokens. It is set by the environment alone (package config); "hyperion-vault-api help" lists its commands.
//
// Exit codes: 0 done, or stopped by a signal after everything in flight was answered; 1 it failed while working;
// 2 the settings or the arguments are wrong and nothing was started. A second signal ends it at once.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From then on a signal has its default action again, which ends the process.
	context.AfterFunc(ctx, stop)
	err := newCommand(program{environ: os.Environ, out: os.Stdout, errOut: os.Stderr}).ExecuteContext(ctx)
	return report(os.Stderr, err)
}
