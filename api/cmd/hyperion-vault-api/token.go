package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
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
		Use: "token", Short: "Create, list, show, renew and revoke tokens", Args: cobra.NoArgs,
		Long: "Create, list, show, renew and revoke tokens of the REST API. Needs the VAULT_PG_* settings and no key.\n" +
			"A token is named by its name or, if several have had that, by its accessor.",
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("token needs create, list, show, renew or revoke")
		},
	}
	var increment time.Duration
	renew := &cobra.Command{
		Use: "renew TOKEN", Short: "Move the end of a token", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.renewToken(cmd.Context(), args[0], increment) },
	}
	renew.Flags().DurationVar(&increment, "increment", 0, "from now, as in 720h; 0 is the lifetime that the token was created with")
	token.AddCommand(newTokenCreateCommand(p), renew,
		&cobra.Command{
			Use: "list", Short: "List the tokens: accessors, names, roles and times", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.listTokens(cmd.Context()) },
		},
		&cobra.Command{
			Use: "show TOKEN", Short: "Show what is known of a token", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return p.showToken(cmd.Context(), args[0]) },
		},
		&cobra.Command{
			Use: "revoke TOKEN", Short: "End a token, and all that were made by it, on every node", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return p.revokeToken(cmd.Context(), args[0]) },
		},
	)
	return token
}

// tokenFlags are what "token create" is told.
type tokenFlags struct {
	request       vault.TokenRequest
	scopes, cidrs []string
}

func newTokenCreateCommand(p program) *cobra.Command {
	var f tokenFlags
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a token and print it, once, to standard output", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.parse(args)
			if err != nil {
				return err
			}
			return p.createToken(cmd.Context(), r)
		},
	}
	flags := create.Flags()
	flags.StringVar(&f.request.Name, "name", "", "the name, in place of the argument")
	flags.StringVar(&f.request.Role, "role", vault.AdminRole, "the role of PostgreSQL that the token acts as")
	flags.DurationVar(&f.request.TTL, "ttl", vault.DefaultTokenTTL, "lifetime, as in 720h; 0 does not end")
	flags.DurationVar(&f.request.TTL, "expires-in", vault.DefaultTokenTTL, "the former name of --ttl")
	_ = flags.MarkHidden("expires-in")
	flags.DurationVar(&f.request.MaxTTL, "max-ttl", 0, "how long renewals may keep it; 0 is no limit")
	flags.BoolVar(&f.request.Renewable, "renewable", true, "whether its end can be moved")
	flags.StringArrayVar(&f.scopes, "scope", nil, "limit it to PATTERN=ACTION,ACTION, as in app/*=read,verify; repeatable")
	flags.StringArrayVar(&f.cidrs, "bound-cidr", nil, "a network of the clients that may use it; repeatable")
	return create
}

func (f *tokenFlags) parse(args []string) (vault.TokenRequest, error) {
	r := f.request
	if len(args) == 1 {
		if r.Name != "" {
			return r, fmt.Errorf("the name is given twice")
		}
		r.Name = args[0]
	}
	if r.Name == "" {
		return r, fmt.Errorf("token create needs a NAME")
	}
	r.Renewable = r.Renewable && r.TTL != 0
	for _, s := range f.scopes {
		pattern, actions, ok := strings.Cut(s, "=")
		if !ok {
			return r, fmt.Errorf("--scope wants PATTERN=ACTION,ACTION, as in app/*=read,verify")
		}
		r.Scope = append(r.Scope, vault.ScopeEntry{Pattern: pattern, Actions: strings.Split(actions, ",")})
	}
	for _, c := range f.cidrs {
		n, err := netip.ParsePrefix(c)
		if err != nil {
			a, aerr := netip.ParseAddr(c)
			if aerr != nil {
				return r, fmt.Errorf("--bound-cidr wants a network, as in 10.1.0.0/16")
			}
			n = netip.PrefixFrom(a, a.BitLen())
		}
		r.BoundCIDRs = append(r.BoundCIDRs, n.Masked())
	}
	return r, nil
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
func (p program) createToken(ctx context.Context, r vault.TokenRequest) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		t, info, err := door.MintToken(ctx, op, r)
		if err != nil {
			return err
		}
		ends := "does not expire"
		if r.TTL > 0 {
			ends = "expires in " + r.TTL.String()
		}
		fmt.Fprintf(p.errOut, "token %s created; it acts as role %s and %s. Its accessor is %s. It is shown this once only.\n",
			core.Quote(r.Name), core.Quote(info.Role), ends, info.ID)
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
		fmt.Fprintln(w, "NAME\tACCESSOR\tROLE\tMETHOD\tCREATED\tEXPIRES\tREVOKED")
		for _, t := range tokens {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.ID, t.Role, t.Method, when(t.CreatedAt), when(t.ExpiresAt), when(t.RevokedAt))
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

func (p program) showToken(ctx context.Context, which string) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		t, err := door.OperatorToken(ctx, op, which)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		line := func(what, value string) { fmt.Fprintf(w, "%s\t%s\n", what, value) }
		line("name", t.Name)
		line("accessor", t.ID.String())
		line("role", t.Role)
		line("method", t.Method)
		if t.Parent != (vault.TokenID{}) {
			line("parent", t.Parent.String())
		}
		for _, scope := range t.Scopes {
			line("scope", scopeText(scope))
		}
		if t.BoundCIDRs != nil {
			line("bound to", strings.Join(t.BoundCIDRs, ", "))
		}
		line("renewable", strconv.FormatBool(t.Renewable))
		line("created", when(t.CreatedAt))
		line("expires", when(t.ExpiresAt))
		line("at most until", when(t.MaxExpiresAt))
		line("revoked", when(t.RevokedAt))
		return w.Flush()
	})
}

// scopeText is a scope as --scope takes its entries.
func scopeText(scope vault.Scope) string {
	entries := make([]string, len(scope))
	for i, e := range scope {
		entries[i] = e.Pattern + "=" + strings.Join(e.Actions, ",")
	}
	return strings.Join(entries, " ")
}

func (p program) renewToken(ctx context.Context, which string, increment time.Duration) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		t, err := door.ExtendToken(ctx, op, which, increment)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.errOut, "token %s expires at %s\n", core.Quote(t.Name), when(t.ExpiresAt))
		return nil
	})
}

func (p program) revokeToken(ctx context.Context, which string) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		if err := door.RevokeToken(ctx, op, which); err != nil {
			return err
		}
		fmt.Fprintf(p.errOut, "token %s revoked\n", core.Quote(which))
		return nil
	})
}
