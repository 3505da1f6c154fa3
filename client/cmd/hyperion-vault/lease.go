package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) leaseCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "lease", Short: "Lease roles of PostgreSQL that end by themselves", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(p.leaseIssueCommand(), p.leaseRenewCommand(), p.leaseRevokeCommand(), p.leaseLsCommand(), p.templateCommand())
	return c
}

func (p *program) leaseIssueCommand() *cobra.Command {
	var ttl string
	c := &cobra.Command{
		Use: "issue TEMPLATE", Short: "Lease a role", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeTemplates,
		Long: `issue makes a login role from a template, and shows its password, this once. The role ends after its time, unless it is
renewed. Use -o json to give it to a program.`,
		Example: "hyperion-vault lease issue app/reader\nhyperion-vault lease issue app/reader --ttl 30m -o json",
		RunE: func(c *cobra.Command, args []string) error {
			secs, err := optionalSeconds("ttl", ttl)
			if err != nil {
				return err
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			l, err := cl.IssueRole(c.Context(), args[0], secs)
			if err != nil {
				return err
			}
			return p.one(l, func() { p.printLease(l) })
		},
	}
	c.Flags().StringVar(&ttl, "ttl", "", "how long it lasts, as in 30m; the template's time if it is not given")
	return c
}

func (p *program) printLease(l *client.Lease) {
	_, _ = fmt.Fprintf(p.out, "lease     %s\nusername  %s\n", l.ID, l.Username)
	if l.Password != "" {
		_, _ = fmt.Fprintf(p.out, "password  %s\n", l.Password)
	}
	_, _ = fmt.Fprintf(p.out, "expires   %s\nat most   %s\n", when(&l.ExpiresAt), when(&l.MaxExpiresAt))
}

func (p *program) leaseRenewCommand() *cobra.Command {
	var increment string
	c := &cobra.Command{
		Use: "renew LEASE", Short: "Move the end of a lease", Args: cobra.ExactArgs(1), ValidArgsFunction: noNames,
		Long: `renew has a lease end its own time from now, or the time of --increment. Its template's maximum bounds it.`,
		RunE: func(c *cobra.Command, args []string) error {
			secs, err := optionalSeconds("increment", increment)
			if err != nil {
				return err
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			l, err := cl.RenewLease(c.Context(), args[0], secs)
			if err != nil {
				return err
			}
			return p.one(l, func() { p.printLease(l) })
		},
	}
	c.Flags().StringVar(&increment, "increment", "", "how long it lasts from now, as in 30m")
	return c
}

func (p *program) leaseRevokeCommand() *cobra.Command {
	c := p.onRole("revoke LEASE", "End a lease: its sessions, and its role", "is revoked", (*client.Client).RevokeLease)
	c.ValidArgsFunction = noNames
	return c
}

func (p *program) leaseLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls [TEMPLATE]", Short: "List leases", Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeTemplates,
		Long: `ls lists your leases, and those of templates that you may manage or audit. One that cannot be ended has the reason in
the field last_error of -o json.`,
		RunE: func(c *cobra.Command, args []string) error {
			template := ""
			if len(args) == 1 {
				template = args[0]
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			return p.buffered(func(func()) error {
				out := list{p: p}
				table := p.rows(column{"LEASE", 36}, column{"USERNAME", 30}, column{"EXPIRES", 20}, column{"STATE", 8}, column{"TEMPLATE", 0})
				for l, err := range cl.Leases(c.Context(), template) {
					if err != nil {
						return err
					}
					if err := out.add(l, func() { table.add(l.ID, l.Username, when(&l.ExpiresAt), leaseState(l), l.Template) }); err != nil {
						return err
					}
				}
				return out.end()
			})
		},
	}
}

// leaseState is "valid", why it is ending, or "stuck" for one that could not be ended.
func leaseState(l client.Lease) string {
	switch {
	case l.LastError != "":
		return "stuck"
	case l.Ending != "":
		return l.Ending
	}
	return "valid"
}

// optionalSeconds is seconds, and 0 without a text.
func optionalSeconds(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	secs, err := seconds(flag, text)
	if err == nil && secs == 0 {
		return 0, usagef("--%s is at least 1s", flag)
	}
	return secs, err
}

// noNames completes nothing: leases are no names of secrets or files.
func noNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}
