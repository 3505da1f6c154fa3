// Command hyperion-vault reads and manages the secrets of a HyperionDB Vault over its REST API. It uses package client, for
// import and export the commands that hyperion-vault-api has too, and nothing else of the server.
//
// It exits with 0 when it is done, with 1 when the arguments or settings are wrong and nothing was sent, and with 2 when
// the request was refused, or the secret or the server was not there.
// "exec" ends with the code of the program that it runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/hyperiondb/hyperion-vault/client"
)

// version is set by the build.
var version = "dev"

const (
	exitUsage  = 1
	exitFailed = 2
)

// usageError is a mistake of the caller, which is found before anything is sent.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends the command with a code and without a message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func main() {
	harden()
	// A call is short, and lists stream: less garbage is worth more than fewer collections.
	debug.SetGCPercent(40)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{environ: os.Environ(), in: os.Stdin, out: os.Stdout, errOut: os.Stderr}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is one call of the command.
type program struct {
	environ     []string
	in          *os.File
	out, errOut io.Writer

	flags  globalFlags
	client *client.Client
	color  bool
}

// run executes the command and returns its exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	_, _ = fmt.Fprintln(p.errOut, "error:", oneLine(err.Error()))
	if hint := p.hint(err); hint != "" {
		_, _ = fmt.Fprintln(p.errOut, "hint:", hint)
	}
	if wrong, ok := errors.AsType[*client.Error](err); ok && wrong.Op != "fill" {
		return exitFailed
	}
	if _, ok := errors.AsType[failure](err); ok {
		return exitFailed
	}
	_, _ = fmt.Fprintf(p.errOut, "hint: %q shows the usage\n", called.CommandPath()+" --help")
	return exitUsage
}

// failure is a mistake of something else than the caller.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

func failuref(format string, args ...any) error { return failure{fmt.Errorf(format, args...)} }

// hint says what to do next about an answer.
func (p *program) hint(err error) string {
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return ""
	case e.Code == client.Unauthenticated && p.client != nil && p.client.HasToken():
		return "the token is not valid any longer, or not for this address; log in with \"hyperion-vault login\""
	case e.Code == client.Unauthenticated:
		return "there is no token; log in with \"hyperion-vault login\", or set VAULT_TOKEN"
	case e.Code == client.Denied:
		return "\"hyperion-vault who-may NAME --me\" explains what you may do with a name"
	case e.Code == client.PreconditionRequired:
		return "name the version that you replace, as in --if-version 3"
	case e.Code == client.Stale:
		return "another change was faster; read the current version, and try again with --if-version"
	case e.Code == client.Exists:
		return "\"hyperion-vault put NAME\" without --create stores a new version"
	case e.RequestID != "" && e.Status >= 500:
		return "the server's log has the cause of the request " + e.RequestID
	}
	return ""
}

func oneLine(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r < ' ' || r == 0x7f {
			out[i] = ' '
		}
	}
	return string(out)
}
