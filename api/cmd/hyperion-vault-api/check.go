package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/cmd/nodecheck"
)

// errFound is what the exit code of a check with findings comes from.
var errFound = errors.New("something is missing; the lines above say what, and what fixes it")

func newCheckCommand(p program) *cobra.Command {
	o := nodecheck.Options{Version: version, ServiceUser: "hyperion-vault"}
	c := &cobra.Command{
		Use: "check", Short: "Say what is missing on this node, and what fixes it", Args: cobra.NoArgs,
		Long: "Say what is missing on this node before the service can work, each with the commands that fix it. Needs the settings of the\n" +
			"service (hyperion-vault-ctl check), and root to try things as other users. It changes nothing and takes 16 seconds at most.\n" +
			"Exit code 0: nothing is missing. 1: something is.",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.check(cmd.Context(), o) },
	}
	c.Flags().StringVar(&o.SettingsFile, "settings-file", "/etc/hyperion-vault/api.env", "file of the service's settings, for the commands that are printed")
	c.Flags().StringVar(&o.Unit, "unit", "hyperion-vault-api.service", "the service, for the commands that are printed")
	return c
}

func (p program) check(ctx context.Context, o nodecheck.Options) error {
	found := nodecheck.Run(ctx, p.environ, o)
	for _, w := range found.Warnings {
		fmt.Fprintln(p.out, "warning:", w)
	}
	for _, note := range found.Notes {
		fmt.Fprintln(p.out, "not checked:", note)
	}
	for _, f := range found.Findings {
		fmt.Fprintln(p.out, "missing:", f.What)
		for _, command := range f.Fix {
			fmt.Fprintln(p.out, "  ", command)
		}
	}
	if len(found.Findings) > 0 {
		return failed(errFound)
	}
	_, err := fmt.Fprintln(p.out, "Nothing is missing.")
	return failed(err)
}
