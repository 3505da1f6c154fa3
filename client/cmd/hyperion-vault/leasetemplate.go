package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) templateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "template", Short: "Manage what leased roles are made as", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	rm := p.onRole("rm TEMPLATE", "Delete a template; its leases last until they end", "is deleted", (*client.Client).DeleteRoleTemplate)
	rm.ValidArgsFunction = p.completeTemplates
	c.AddCommand(p.templatePutCommand(), p.templateShowCommand(), p.templateLsCommand(), rm)
	return c
}

// templateOptions are the flags of a template as they were given.
type templateOptions struct {
	client.NewRoleTemplate
	ttl, maxTTL string
	connections int32
}

func (p *program) templatePutCommand() *cobra.Command {
	var o templateOptions
	c := &cobra.Command{
		Use: "put TEMPLATE", Short: "Create or replace a template", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeTemplates,
		Long: `put says what the roles of a template are members of, and how long they last. They are made with the rights of the role
that your token acts as. PostgreSQL must let it make such roles. What is not given is the server's default, also when a
template is replaced.`,
		Example: "hyperion-vault lease template put app/reader --member-of readers --ttl 1h --max-ttl 1d --set search_path=app",
		RunE: func(c *cobra.Command, args []string) error {
			t, err := o.template(c)
			if err != nil {
				return err
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			made, err := cl.PutRoleTemplate(c.Context(), args[0], t)
			if err != nil {
				return err
			}
			return p.one(made, func() { p.printTemplate(made) })
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.MemberOf, "member-of", nil, "groups that a role is a member of")
	f.StringVar(&o.ttl, "ttl", "", "how long a lease lasts, as in 1h")
	f.StringVar(&o.maxTTL, "max-ttl", "", "how long it lasts at most, however often it is renewed")
	f.StringVar(&o.RolePrefix, "role-prefix", "", "beginning of the names of the roles; made of the template's name if it is not given")
	f.Int32Var(&o.connections, "connection-limit", -1, "connections of one role at most; -1 is no limit")
	f.StringToStringVar(&o.Settings, "set", nil, "settings of a role, as in search_path=app")
	f.BoolVar(&o.DropOwned, "drop-owned", false, "drop what a role owns when it ends")
	f.StringVar(&o.ReassignTo, "reassign-to", "", "role that gets what a role owns when it ends")
	f.Int32Var(&o.MaxLeases, "max-leases", 0, "leases at the same time at most")
	return c
}

// template is what the flags say.
func (o *templateOptions) template(c *cobra.Command) (client.NewRoleTemplate, error) {
	var err error
	if o.TTLSecs, err = optionalSeconds("ttl", o.ttl); err != nil {
		return o.NewRoleTemplate, err
	}
	if c.Flags().Changed("connection-limit") {
		o.ConnectionLimit = &o.connections
	}
	o.MaxTTLSecs, err = optionalSeconds("max-ttl", o.maxTTL)
	return o.NewRoleTemplate, err
}

func (p *program) printTemplate(t *client.RoleTemplate) {
	limit := "no limit"
	if t.ConnectionLimit >= 0 {
		limit = fmt.Sprint(t.ConnectionLimit)
	}
	_, _ = fmt.Fprintf(p.out, "template     %s\nmade as      %s\nmember of    %s\nlasts        %s, at most %s\nroles        %s_…\nconnections  %s\nleases       %d at most\n",
		t.Name, t.Definer, strings.Join(t.MemberOf, ", "), span(t.TTLSecs), span(t.MaxTTLSecs), t.RolePrefix, limit, t.MaxLeases)
}

func (p *program) templateShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show TEMPLATE", Short: "Show a template", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeTemplates,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			t, err := cl.ShowRoleTemplate(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.one(t, func() { p.printTemplate(t) })
		},
	}
}

func (p *program) templateLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List templates", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			return p.buffered(func(func()) error {
				out := list{p: p}
				table := p.rows(column{"TTL", 6}, column{"AT MOST", 7}, column{"MADE AS", 20}, column{"TEMPLATE", 0})
				for t, err := range cl.RoleTemplates(c.Context()) {
					if err != nil {
						return err
					}
					if err := out.add(t, func() { table.add(span(t.TTLSecs), span(t.MaxTTLSecs), t.Definer, t.Name) }); err != nil {
						return err
					}
				}
				return out.end()
			})
		},
	}
}

// completeTemplates completes the names of templates.
func (p *program) completeTemplates(c *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	cl, err := p.connect()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for t, err := range cl.RoleTemplates(c.Context()) {
		if err != nil {
			break
		}
		if strings.HasPrefix(t.Name, begin) {
			names = append(names, t.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
