package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) roleCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "role", Short: "Manage roles of PostgreSQL whose passwords are secrets", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(p.roleLsCommand(), p.roleBindCommand(), p.roleSetCommand(), p.roleSessionsCommand(),
		p.onRole("unbind NAME", "End the binding of a secret; the role keeps its password", "is no longer bound", (*client.Client).UnbindRole),
		p.onRole("repair NAME", "Give the role of a secret its current value as the password again", "is the password again", (*client.Client).RepairRole))
	return c
}

func (p *program) roleLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls [PREFIX]", Short: "List bound roles, and whether they are as the vault made them", Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.completeNames,
		RunE: func(c *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			roles, err := cl.BoundRoles(c.Context(), prefix)
			if err != nil {
				return err
			}
			out := list{p: p}
			table := p.rows(column{"ROLE", 20}, column{"STATE", 10}, column{"VERSION", 7}, column{"SECRET", 0})
			for _, r := range roles {
				number := "-"
				if r.Version != nil {
					number = strconv.FormatInt(*r.Version, 10)
				}
				if err := out.add(r, func() { table.add(r.Role, r.State, number, r.Name) }); err != nil {
					return err
				}
			}
			return out.end()
		},
	}
}

func (p *program) roleBindCommand() *cobra.Command {
	var b client.RoleBinding
	c := &cobra.Command{
		Use: "bind NAME ROLE [ROLE]", Short: "Make a secret the password of a role, or of two in turn", Args: cobra.RangeArgs(2, 3), ValidArgsFunction: p.completeNames,
		Long: `bind makes the value of a secret the password of a role, now and with each new version. With two roles, each version is
the password of one of them in turn: its value is JSON with username and password.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 2 {
				b.Role = args[1]
			} else {
				b.Pair = args[1:]
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			if err := cl.BindRole(c.Context(), args[0], b); err != nil {
				return err
			}
			return p.one(map[string]any{"name": args[0], "roles": args[1:]}, func() { _, _ = fmt.Fprintf(p.out, "%s is bound\n", args[0]) })
		},
	}
	c.Flags().StringVar(&b.SessionPolicy, "sessions", "", sessionsUsage)
	c.Flags().Int64Var(&b.MaxWaitSecs, "max-wait-secs", 0, "how long a retiring role can log in at most while it has sessions")
	c.Flags().BoolVar(&b.AutoRepair, "auto-repair", false, "set the password again when it was changed elsewhere")
	c.Flags().StringVar(&b.SharedRole, "shared-role", "", "a role that both of a pair must be members of")
	return c
}

const sessionsUsage = "what becomes of sessions of a former password when its grace ends: ignore, wait or terminate"

func (p *program) roleSetCommand() *cobra.Command {
	var o client.RoleOptions
	var repair bool
	c := &cobra.Command{
		Use: "set NAME", Short: "Change what becomes of sessions of a former password", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("auto-repair") {
				o.AutoRepair = &repair
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			if err := cl.ConfigureRole(c.Context(), args[0], o); err != nil {
				return err
			}
			return p.one(map[string]any{"name": args[0]}, func() { _, _ = fmt.Fprintf(p.out, "%s is set\n", args[0]) })
		},
	}
	c.Flags().StringVar(&o.SessionPolicy, "sessions", "", sessionsUsage)
	c.Flags().Int64Var(&o.MaxWaitSecs, "max-wait-secs", 0, "how long a retiring role can log in at most while it has sessions")
	c.Flags().BoolVar(&repair, "auto-repair", false, "set the password again when it was changed elsewhere")
	return c
}

func (p *program) roleSessionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "sessions NAME", Short: "List the sessions of the roles of a secret, on the server of this node", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			sessions, err := cl.RoleSessions(c.Context(), args[0])
			if err != nil {
				return err
			}
			out := list{p: p}
			table := p.rows(column{"PID", 8}, column{"ROLE", 20}, column{"SINCE", 20}, column{"CREDENTIAL", 10}, column{"FATE", 10}, column{"APPLICATION", 0})
			for _, s := range sessions {
				line := func() {
					table.add(strconv.Itoa(s.PID), s.Role, s.StartedAt.UTC().Format(time.RFC3339), s.Credential, s.Fate, s.ApplicationName)
				}
				if err := out.add(s, line); err != nil {
					return err
				}
			}
			return out.end()
		},
	}
}

func (p *program) onRole(use, short, word string, call func(*client.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			if err := call(cl, c.Context(), args[0]); err != nil {
				return err
			}
			return p.one(map[string]any{"name": args[0]}, func() { _, _ = fmt.Fprintf(p.out, "%s %s\n", args[0], word) })
		},
	}
}
