package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func newTokenCommand(p program) *cobra.Command {
	token := &cobra.Command{
		Use: "token", Short: "Create, list and revoke admin tokens", Args: cobra.NoArgs,
		Long: "Create, list and revoke admin tokens. Needs the VAULT_PG_* settings and no key.",
		RunE: func(*cobra.Command, []string) error { return fmt.Errorf("token needs create, list or revoke") },
	}
	var ttl time.Duration
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a token and print it, once, to standard output", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.createToken(cmd.Context(), args[0], ttl) },
	}
	create.Flags().DurationVar(&ttl, "expires-in", 0, "lifetime, as in 720h; 0 does not expire")
	token.AddCommand(create,
		&cobra.Command{
			Use: "list", Short: "List the tokens' names and times", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.listTokens(cmd.Context()) },
		},
		&cobra.Command{
			Use: "revoke NAME", Short: "End a token now, on every node", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return p.revokeToken(cmd.Context(), args[0]) },
		},
	)
	return token
}

// operate runs f with the door as the OS user who called, within the request timeout.
func (p program) operate(ctx context.Context, f func(context.Context, *vault.Vault, vault.Operator) error) error {
	cfg, warnings, err := config.LoadStore(p.environ)
	p.warn(warnings)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.RequestTimeout)
	defer cancel()
	door, closeDoor, err := service.OpenOperator(ctx, cfg)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = closeDoor() }()
	return failed(f(ctx, door, vault.Operator{Name: osUser()}))
}

// osUser is who the audit log names. An id without an entry in the user database stands for itself.
func osUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// createToken prints nothing but the token to standard output, so that a script can take it as it is.
func (p program) createToken(ctx context.Context, name string, ttl time.Duration) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		t, err := door.CreateToken(ctx, op, name, ttl)
		if err != nil {
			return err
		}
		ends := "does not expire"
		if ttl > 0 {
			ends = "expires in " + ttl.String()
		}
		fmt.Fprintf(p.errOut, "token %s created; it %s. It is shown this once only.\n", core.Quote(name), ends)
		_, err = fmt.Fprintln(p.out, t.Reveal())
		return err
	})
}

func (p program) listTokens(ctx context.Context) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		tokens, err := door.ListTokens(ctx, op)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tCREATED\tEXPIRES\tREVOKED")
		for _, t := range tokens {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Name, when(t.CreatedAt), when(t.ExpiresAt), when(t.RevokedAt))
		}
		return w.Flush()
	})
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func (p program) revokeToken(ctx context.Context, name string) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		if err := door.RevokeToken(ctx, op, name); err != nil {
			return err
		}
		fmt.Fprintf(p.errOut, "token %s revoked\n", core.Quote(name))
		return nil
	})
}
