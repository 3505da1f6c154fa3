package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// callHere runs a command in this process, with no settings at all: a call that gets as far as them is understood.
func callHere(args ...string) (code int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	root := newCommand(program{environ: func() []string { return nil }, out: &out, errOut: &errOut})
	root.SetArgs(args)
	called, err := root.ExecuteContextC(context.Background())
	code = report(&errOut, called.CommandPath(), err)
	return code, out.String(), errOut.String()
}

// everyCommand calls f with each command that a user can call, and its words.
func everyCommand(c *cobra.Command, f func(c *cobra.Command, words []string)) {
	f(c, strings.Fields(c.CommandPath())[1:])
	for _, child := range c.Commands() {
		if !strings.HasPrefix(child.Name(), "__") {
			everyCommand(child, f)
		}
	}
}

// TestWrongCalls makes each mistake in calling with each command. All of them exit with 2, write nothing to standard
// output, and name the command whose help to read.
func TestWrongCalls(t *testing.T) {
	calls := 0
	wrong := func(t *testing.T, c *cobra.Command, args ...string) {
		t.Helper()
		calls++
		code, stdout, stderr := callHere(args...)
		hint := `hint: "` + strings.TrimSuffix(c.CommandPath(), " help") + ` --help" shows the usage`
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, hint) {
			t.Errorf("%q: exit %d\nstdout: %s\nstderr: %s", args, code, stdout, stderr)
		}
	}
	everyCommand(newCommand(program{}), func(c *cobra.Command, words []string) {
		t.Run(strings.Join(append([]string{"Root"}, words...), " "), func(t *testing.T) {
			wrong(t, c, append(words, "--no-such-flag")...)
			if c.Name() != "help" {
				wrong(t, c, append(words, strings.Fields("too many words by far for it")...)...)
			}
			if strings.Contains(c.Use, " ") && !strings.Contains(c.Use, "[") {
				wrong(t, c, words...)
			}
			c.Flags().VisitAll(func(f *pflag.Flag) {
				if kind := f.Value.Type(); kind != "string" && kind != "stringArray" {
					wrong(t, c, append(words, "--"+f.Name+"=nonsense")...)
				}
				if f.Value.Type() != "bool" {
					wrong(t, c, append(words, "--"+f.Name)...)
				}
			})
		})
	})
	if calls < 100 {
		t.Errorf("only %d wrong calls were made", calls)
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	everyCommand(newCommand(program{}), func(c *cobra.Command, words []string) {
		code, stdout, stderr := callHere(append([]string{"help"}, words...)...)
		_, flag, _ := callHere(append(words, "--help")...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") || stdout != flag {
			t.Errorf("help of %q: exit %d\nstdout: %s\nstderr: %s\n--help: %s", words, code, stdout, stderr, flag)
		}
		code, stdout, stderr = callHere(append(append([]string{"help"}, words...), "nosuch")...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, `unknown command "nosuch" for "`+c.CommandPath()+`"`) {
			t.Errorf("help of %q nosuch: exit %d\nstdout: %s\nstderr: %s", words, code, stdout, stderr)
		}
	})
}

// TestErrorsArePrintable: what a server says reaches a terminal as text and as nothing else.
func TestErrorsArePrintable(t *testing.T) {
	var out bytes.Buffer
	if code := report(&out, "hyperion-vault-api", failed(errors.New("a\x1b[2J\u009b1mü\nb\x00"))); code != exitFailed || out.String() != "error: a?[2J?1mü\nb?\n" {
		t.Errorf("exit %d, %q", code, out.String())
	}
}
