package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

func (p *program) rmVersions(c *cobra.Command, cl *client.Client, name string, versions []int64, destroy, yes bool) error {
	change, word := cl.DeleteVersions, "deleted"
	if destroy {
		change, word = cl.DestroyVersions, "destroyed"
		if err := p.confirm(fmt.Sprintf("This destroys versions of %s, permanently.", name), yes); err != nil {
			return err
		}
	}
	changed, err := change(c.Context(), name, versions...)
	if err != nil {
		return err
	}
	return p.changedVersions(name, word, changed)
}

func (p *program) changedVersions(name, word string, changed []int64) error {
	return p.one(map[string]any{"name": name, "versions": changed}, func() {
		if len(changed) == 0 {
			_, _ = fmt.Fprintf(p.out, "no version of %s was changed\n", name)
		}
		for _, v := range changed {
			_, _ = fmt.Fprintf(p.out, "version %d of %s is %s\n", v, name, word)
		}
	})
}

func (p *program) undeleteCommand() *cobra.Command {
	var versions []int64
	c := &cobra.Command{
		Use: "undelete NAME", Short: "Restore a deleted secret, or deleted versions", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		Long: `undelete restores the secret of this name that was deleted last. With --version it takes the deletion of versions
back. "ls --deleted" lists what can be restored.`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			name := args[0]
			if len(versions) > 0 {
				changed, err := cl.UndeleteVersions(c.Context(), name, versions...)
				if err != nil {
					return err
				}
				return p.changedVersions(name, "undeleted", changed)
			}
			deleted, err := cl.Deleted(c.Context(), name, 1000)
			if err != nil {
				return err
			}
			for _, d := range deleted {
				if d.Name == name {
					s, err := cl.Restore(c.Context(), d.ID)
					return p.stored(s, err)
				}
			}
			return failuref("no deleted secret of the name %s can be restored; \"ls --deleted\" lists those that can", name)
		},
	}
	c.Flags().Int64SliceVar(&versions, "version", nil, "versions to undelete, as in 2,3")
	return c
}

func (p *program) expireCommand() *cobra.Command {
	var grace string
	c := &cobra.Command{
		Use: "expire NAME VERSION", Short: "Shorten or end the grace of a superseded version", Args: cobra.ExactArgs(2), ValidArgsFunction: p.completeNames,
		RunE: func(c *cobra.Command, args []string) error {
			number, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || number < 1 {
				return usagef("the version is a number, as \"versions\" shows it")
			}
			secs, err := seconds("grace", grace)
			if err != nil {
				return err
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			info, err := cl.Expire(c.Context(), args[0], number, secs)
			if err != nil {
				return err
			}
			return p.one(info, func() {
				_, _ = fmt.Fprintf(p.out, "version %d of %s is valid until %s\n", info.Version, args[0], when(info.ExpiresAt))
			})
		},
	}
	c.Flags().StringVar(&grace, "grace", "0s", "how much longer it stays valid at most")
	return c
}

func (p *program) versionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "versions NAME", Short: "List the versions of a secret", Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeNames,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			versions, err := cl.Versions(c.Context(), args[0])
			if err != nil {
				return err
			}
			out := list{p: p}
			table := p.rows(column{"VERSION", 7}, column{"CREATED", 20}, column{"STATE", 0})
			for i, v := range versions {
				err := out.add(v, func() { table.add(strconv.FormatInt(v.Version, 10), when(&v.CreatedAt), stateOf(v, i == 0)) })
				if err != nil {
					return err
				}
			}
			return out.end()
		},
	}
}

// stateOf says what a version is good for.
func stateOf(v client.VersionInfo, newest bool) string {
	switch {
	case v.DestroyedAt != nil:
		return "destroyed " + when(v.DestroyedAt)
	case v.DeletedAt != nil:
		return "deleted " + when(v.DeletedAt)
	case v.ExpiresAt != nil && v.ExpiresAt.After(time.Now()):
		return "valid until " + when(v.ExpiresAt)
	case v.ExpiresAt != nil:
		return "expired " + when(v.ExpiresAt)
	case newest:
		return "current"
	}
	return "kept"
}
