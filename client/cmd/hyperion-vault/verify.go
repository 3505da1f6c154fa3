package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) verifyCommand() *cobra.Command {
	var trim bool
	c := &cobra.Command{
		Use: "verify NAME [@FILE|-]", Short: "Compare a candidate with the valid versions", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: p.completeNames,
		Long: `verify compares a candidate with the current version and those in grace, without reading the secret. It exits with 2 if
none equals it. The candidate comes from a file (@FILE), from the standard input (-), or from a prompt.`,
		RunE: func(c *cobra.Command, args []string) error { return p.verify(c.Context(), args, trim) },
	}
	c.Flags().BoolVar(&trim, "trim", false, "leave out a line break at the end of the candidate")
	return c
}

// verify has args of the command: the name, and where the candidate comes from.
func (p *program) verify(ctx context.Context, args []string, trim bool) error {
	cl, err := p.connect()
	if err != nil {
		return err
	}
	source := ""
	if len(args) == 2 {
		source = args[1]
	}
	candidate, err := p.secretInput(source, "Candidate for "+args[0], false)
	if err != nil {
		return err
	}
	defer clear(candidate)
	if trim && len(candidate) > 0 && candidate[len(candidate)-1] == '\n' {
		candidate = candidate[:len(candidate)-1]
	}
	if len(candidate) == 0 {
		return usagef("the candidate is empty")
	}
	verdict, err := cl.Verify(ctx, args[0], candidate)
	if err != nil {
		return err
	}
	err = p.one(verdict, func() {
		if verdict.Valid {
			_, _ = fmt.Fprintf(p.out, "valid: it is version %d\n", verdict.Version)
		} else {
			_, _ = fmt.Fprintln(p.out, "not valid")
		}
	})
	if err == nil && !verdict.Valid {
		return exitError(exitFailed)
	}
	return err
}
