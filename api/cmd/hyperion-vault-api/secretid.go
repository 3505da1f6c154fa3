package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func newSecretIDCommand(p program) *cobra.Command {
	secretID := &cobra.Command{
		Use: "secret-id", Short: "Create, list and destroy the secret ids of an AppRole", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("auth secret-id needs create, list or destroy")
		},
	}
	var r vault.SecretIDRequest
	var cidrs []string
	create := &cobra.Command{
		Use: "create MOUNT NAME", Short: "Create a secret id and print it, once, to standard output", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.BoundCIDRs, err = loginNetworks(cidrs); err != nil {
				return err
			}
			return p.createSecretID(cmd.Context(), args[0], args[1], r)
		},
	}
	create.Flags().DurationVar(&r.TTL, "ttl", 0, "lifetime, within what the role says; 0 is what it says")
	create.Flags().Int64Var(&r.Uses, "uses", 0, "number of logins, within what the role says; 0 is what it says")
	create.Flags().StringArrayVar(&cidrs, "bound-cidr", nil, "network of the clients; may be repeated")
	secretID.AddCommand(create,
		&cobra.Command{
			Use: "list MOUNT NAME", Short: "List the accessors of the secret ids of a role", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error { return p.listSecretIDs(cmd.Context(), args[0], args[1]) },
		},
		&cobra.Command{
			Use: "destroy MOUNT NAME ACCESSOR", Short: "Destroy a secret id", Args: cobra.ExactArgs(3),
			RunE: func(cmd *cobra.Command, args []string) error { return p.destroySecretID(cmd.Context(), args) },
		})
	return secretID
}

// createSecretID prints nothing but the secret id to standard output, so that a script can take it as it is.
func (p program) createSecretID(ctx context.Context, mount, name string, r vault.SecretIDRequest) error {
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		made, info, err := l.CreateSecretID(ctx, mount, name, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.errOut, "secret id with accessor %s created; it ends: %s; uses: %s. It is shown this once only.\n",
			core.SecretID(info.ID), when(info.ExpiresAt), usesText(info.UsesLeft))
		_, err = fmt.Fprintln(p.out, made.Reveal())
		return err
	})
}

func usesText(n int64) string {
	if n < 0 {
		return "any number"
	}
	return strconv.FormatInt(n, 10)
}

func (p program) listSecretIDs(ctx context.Context, mount, name string) error {
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ACCESSOR\tCREATED\tEXPIRES\tUSES LEFT")
		var after [16]byte
		for {
			page, err := l.SecretIDs(ctx, mount, name, after, vault.MaxPageSize)
			if err != nil {
				return err
			}
			for _, s := range page {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", core.SecretID(s.ID), when(s.CreatedAt), when(s.ExpiresAt), usesText(s.UsesLeft))
			}
			if len(page) < vault.MaxPageSize {
				return w.Flush()
			}
			after = page[len(page)-1].ID
		}
	})
}

func (p program) destroySecretID(ctx context.Context, args []string) error {
	accessor, err := core.ParseSecretID(args[2])
	if err != nil {
		return fmt.Errorf("an accessor is a UUID")
	}
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		_, err := l.DeleteSecretID(ctx, args[0], args[1], accessor)
		return p.say(err, "secret id %s destroyed", accessor)
	})
}
