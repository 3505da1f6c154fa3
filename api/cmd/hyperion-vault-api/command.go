package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
)

// program is what the commands touch of the outside.
type program struct {
	environ     func() []string
	out, errOut io.Writer
}

// failure is an error of a command that was understood; every other error is a wrong call.
type failure struct {
	exit int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{exit: exitFailed, err: err}
}

// report prints err, which the command of that path returned, and returns the exit code for it.
func report(w io.Writer, path string, err error) int {
	if err == nil {
		return 0
	}
	var problems *config.Error
	if errors.As(err, &problems) {
		for _, p := range problems.Problems {
			fmt.Fprintln(w, "error:", p.Text)
		}
		return exitUsage
	}
	fmt.Fprintln(w, "error:", printable(saidOnce(err.Error())))
	var f *failure
	if errors.As(err, &f) {
		return f.exit
	}
	fmt.Fprintf(w, "hint: \"%s --help\" shows the usage\n", strings.TrimSuffix(path, " help"))
	return exitUsage
}

// printable leaves a text nothing that a terminal obeys: a server that fails may say anything.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// saidOnce leaves out lines that an earlier one has said: what fails for a reason cannot be recorded for the same one, and a
// server is tried in more than one way.
func saidOnce(text string) string {
	var said []string
	for line := range strings.SplitSeq(text, "\n") {
		if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, line) }) {
			said = append(said, line)
		}
	}
	return strings.Join(said, "\n")
}

func newCommand(p program) *cobra.Command {
	root := &cobra.Command{
		Use:   "hyperion-vault-api",
		Short: "REST API and key agent of HyperionDB Vault",
		Long: "REST API and key agent of HyperionDB Vault. Without a command it serves.\n" +
			"All settings come from the environment (VAULT_*); \"hyperion-vault-api help settings\" lists them.",
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetOut(p.out)
	root.SetErr(p.errOut)
	root.AddCommand(
		&cobra.Command{
			Use: "serve", Short: "Serve until SIGTERM or SIGINT; SIGHUP reloads", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context()) },
		},
		newCheckCommand(p),
		newTokenCommand(p),
		newAuthCommand(p),
		newRewrapCommand(p),
		newRecoverCommand(p),
		p.migration().Import(),
		p.migration().Export(),
		newProbeCommand(p),
		newSettingsCommand(p),
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := fmt.Fprintf(p.out, "hyperion-vault-api %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return failed(err)
			},
		},
	)
	completionNeedsShell(root)
	explainUsage(root)
	return root
}

// newSettingsCommand prints the reference of all settings, which is also its help.
func newSettingsCommand(p program) *cobra.Command {
	var text strings.Builder
	_ = config.WriteHelp(&text)
	return &cobra.Command{
		Use: "settings", Short: "Print every setting with its default", Long: text.String(), Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return failed(config.WriteHelp(p.out)) },
	}
}

// completionNeedsShell makes the library's command an error where it would print its help, and succeed, in place of a
// script that a shell evaluates.
func completionNeedsShell(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args = cobra.NoArgs
			c.RunE = func(*cobra.Command, []string) error {
				return errors.New("completion needs bash, zsh, fish or powershell")
			}
		}
	}
}

// serve runs the service until ctx ends, and closes it in order.
func (p program) serve(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // from now on: one that comes during the start is answered after it
	defer signal.Stop(hangup)
	cfg, warnings, err := config.Load(p.environ)
	if err != nil {
		p.warn(warnings)
		return err
	}
	cfg.Version = version
	level := &slog.LevelVar{}
	level.Set(cfg.LogLevel)
	log := newLogger(p.errOut, level)
	for _, w := range warnings {
		log.Warn(w.Text, "variable", w.Name)
	}
	log.Info("starting", "version", version, "config", cfg)
	s, err := service.Open(ctx, cfg, log)
	if err != nil {
		return failed(err)
	}
	runErr := p.run(ctx, s, hangup, level)
	log.Info("stopping", "timeout_secs", cfg.ShutdownTimeout.Seconds())
	limit, cancel := context.WithTimeout(context.Background(), cfg.ShutdownTimeout)
	defer cancel()
	err = errors.Join(runErr, s.Close(limit))
	if err == nil {
		log.Info("stopped")
	}
	return failed(err)
}

// run serves, and reloads at each hangup.
func (p program) run(ctx context.Context, s *service.Service, hangup <-chan os.Signal, level *slog.LevelVar) error {
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for {
		select {
		case <-hangup:
			level.Set(s.Reload(p.environ).LogLevel)
		case err := <-done:
			return err
		}
	}
}

func (p program) warn(warnings []config.Warning) {
	for _, w := range warnings {
		fmt.Fprintln(p.errOut, "warning:", w.Text)
	}
}
