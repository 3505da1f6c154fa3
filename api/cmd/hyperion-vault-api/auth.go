package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func newAuthCommand(p program) *cobra.Command {
	auth := &cobra.Command{
		Use: "auth", Short: "Configure login methods, their roles, secret ids and passwords", Args: cobra.NoArgs,
		Long: "Configure how clients log in by REST: AppRole, JWT (also of Kubernetes and GitHub), client certificate and password.\n" +
			"Needs the VAULT_PG_* settings; rotate-key also those of the key service.",
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("auth needs method, role, secret-id, password or rotate-key")
		},
	}
	auth.AddCommand(newAuthMethodCommand(p), newAuthRoleCommand(p), newSecretIDCommand(p), newPasswordCommand(p), &cobra.Command{
		Use: "rotate-key", Short: "Make a new key for batch tokens; tokens under earlier keys stay valid until they end", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.rotateTokenKey(cmd.Context()) },
	})
	return auth
}

func newAuthMethodCommand(p program) *cobra.Command {
	method := &cobra.Command{
		Use: "method", Short: "Set, list, show and delete login methods", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return fmt.Errorf("auth method needs set, list, show or delete") },
	}
	var settings, description string
	set := &cobra.Command{
		Use: "set MOUNT KIND", Short: "Make or change a method of kind approle, jwt, cert or userpass", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.setMethod(cmd.Context(), vault.LoginMethod{Mount: args[0], Kind: vault.LoginKind(args[1]), Description: description}, settings)
		},
	}
	set.Flags().StringVar(&settings, "config", "", "settings as JSON, or @FILE, or @- for standard input")
	set.Flags().StringVar(&description, "description", "", "what the method is for")
	method.AddCommand(set,
		&cobra.Command{
			Use: "list", Short: "List the login methods", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.listMethods(cmd.Context()) },
		},
		&cobra.Command{
			Use: "show MOUNT", Short: "Print a method's settings as JSON", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return p.showMethod(cmd.Context(), args[0]) },
		},
		&cobra.Command{
			Use: "delete MOUNT", Short: "Delete a method with its roles; their batch tokens end at once", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.logins(cmd.Context(), func(ctx context.Context, l vault.LoginAdmin) error {
					_, err := l.DeleteMethod(ctx, args[0])
					return p.say(err, "login method %s deleted", core.Quote(args[0]))
				})
			},
		})
	return method
}

// logins runs f with what an operator configures login methods with.
func (p program) logins(ctx context.Context, f func(context.Context, vault.LoginAdmin) error) error {
	return p.operate(ctx, func(ctx context.Context, door *vault.Vault, op vault.Operator) error {
		return f(ctx, door.OperatorLogins(op))
	})
}

// say reports on standard error what was done, unless it was not.
func (p program) say(err error, format string, args ...any) error {
	if err == nil {
		fmt.Fprintf(p.errOut, format+"\n", args...)
	}
	return err
}

// configText reads the value of --config. Settings hold no secret.
func configText(value string) (json.RawMessage, error) {
	file, named := strings.CutPrefix(value, "@")
	switch {
	case !named:
		return json.RawMessage(value), nil
	case file == "-":
		text, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
		return text, err
	}
	text, err := os.ReadFile(file)
	return text, err
}

func (p program) setMethod(ctx context.Context, m vault.LoginMethod, settings string) (err error) {
	if m.Config, err = configText(settings); err != nil {
		return err
	}
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		_, err := l.PutMethod(ctx, m)
		return p.say(err, "login method %s set", core.Quote(m.Mount))
	})
}

func (p program) listMethods(ctx context.Context) error {
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		all, err := l.Methods(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "MOUNT\tKIND\tUPDATED\tDESCRIPTION")
		for _, m := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Mount, m.Kind, when(m.UpdatedAt), m.Description)
		}
		return w.Flush()
	})
}

func (p program) showMethod(ctx context.Context, mount string) error {
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		m, err := l.Method(ctx, mount)
		if err != nil {
			return err
		}
		return p.print(map[string]any{"mount": m.Mount, "kind": m.Kind, "description": m.Description, "config": m.Config})
	})
}

// print writes JSON to standard output.
func (p program) print(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = fmt.Fprintln(p.out, string(text))
	}
	return err
}

// roleFlags are the flags of a login role.
type roleFlags struct {
	config, tokenType string
	role              string
	ttl, maxTTL       time.Duration
	scope, cidrs      []string
}

func newAuthRoleCommand(p program) *cobra.Command {
	role := &cobra.Command{
		Use: "role", Short: "Set, list, show and delete the roles of a login method", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("auth role needs set, list, show, delete or revoke-batch-tokens")
		},
	}
	named := func(use, short string, run func(context.Context, vault.LoginAdmin, string, string) error) *cobra.Command {
		return &cobra.Command{Use: use + " MOUNT NAME", Short: short, Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			return p.logins(cmd.Context(), func(ctx context.Context, l vault.LoginAdmin) error { return run(ctx, l, args[0], args[1]) })
		}}
	}
	role.AddCommand(newAuthRoleSetCommand(p),
		&cobra.Command{
			Use: "list MOUNT", Short: "List the roles of a login method", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return p.listRoles(cmd.Context(), args[0]) },
		},
		named("show", "Print a role as JSON", p.showRole),
		named("delete", "Delete a role; its batch tokens end at once", func(ctx context.Context, l vault.LoginAdmin, mount, name string) error {
			_, err := l.DeleteRole(ctx, mount, name)
			return p.say(err, "login role %s of %s deleted", core.Quote(name), core.Quote(mount))
		}),
		named("revoke-batch-tokens", "End the batch tokens that a role has issued so far", func(ctx context.Context, l vault.LoginAdmin, mount, name string) error {
			_, err := l.EndBatchTokens(ctx, mount, name)
			return p.say(err, "batch tokens of login role %s of %s revoked", core.Quote(name), core.Quote(mount))
		}))
	return role
}

func newAuthRoleSetCommand(p program) *cobra.Command {
	var f roleFlags
	set := &cobra.Command{
		Use: "set MOUNT NAME", Short: "Make or change a role, and print its id: the role id of an AppRole", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return p.setRole(cmd.Context(), args[0], args[1], f) },
	}
	flags := set.Flags()
	flags.StringVar(&f.role, "role", "", "SQL role that the tokens act as (required)")
	flags.StringVar(&f.config, "config", "", "settings as JSON, or @FILE, or @- for standard input")
	flags.StringVar(&f.tokenType, "token-type", "service", "service, or batch: stored nowhere, and valid without the primary")
	flags.DurationVar(&f.ttl, "ttl", time.Hour, "lifetime of a token")
	flags.DurationVar(&f.maxTTL, "max-ttl", 24*time.Hour, "lifetime of a token with all its renewals")
	flags.StringArrayVar(&f.scope, "scope", nil, "limit of the tokens, as PATTERN=ACTION,ACTION; may be repeated")
	flags.StringArrayVar(&f.cidrs, "bound-cidr", nil, "network of the clients; may be repeated")
	_ = set.MarkFlagRequired("role")
	return set
}

func (p program) setRole(ctx context.Context, mount, name string, f roleFlags) error {
	r := vault.LoginRole{
		Mount: mount, Name: name, Role: f.role, TokenType: vault.TokenType(f.tokenType), TokenTTL: f.ttl, TokenMaxTTL: max(f.maxTTL, f.ttl),
	}
	var err error
	if r.Config, err = configText(f.config); err != nil {
		return err
	}
	if r.Scope, err = loginScope(f.scope); err != nil {
		return err
	}
	if r.BoundCIDRs, err = loginNetworks(f.cidrs); err != nil {
		return err
	}
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		made, err := l.PutRole(ctx, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.errOut, "login role %s of %s set; its id:\n", core.Quote(name), core.Quote(mount))
		_, err = fmt.Fprintln(p.out, core.SecretID(made.ID))
		return err
	})
}

// loginScope reads PATTERN=ACTION,ACTION.
func loginScope(texts []string) (scope vault.Scope, err error) {
	for _, text := range texts {
		pattern, actions, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--scope %s: want PATTERN=ACTION,ACTION", core.Quote(text))
		}
		scope = append(scope, vault.ScopeEntry{Pattern: pattern, Actions: strings.Split(actions, ",")})
	}
	return scope, nil
}

func loginNetworks(texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, aerr := netip.ParseAddr(text); aerr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("--bound-cidr %s: want an address or a network such as 10.0.0.0/8", core.Quote(text))
		}
		list = append(list, p)
	}
	return list, nil
}

func (p program) listRoles(ctx context.Context, mount string) error {
	return p.logins(ctx, func(ctx context.Context, l vault.LoginAdmin) error {
		all, err := l.Roles(ctx, mount)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tROLE\tTOKENS\tTTL\tMAX TTL\tID")
		for _, r := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, orMissing(r.Role), r.TokenType, r.TokenTTL, r.TokenMaxTTL, core.SecretID(r.ID))
		}
		return w.Flush()
	})
}

func orMissing(role string) string {
	if role == "" {
		return "(missing)"
	}
	return role
}

func (p program) showRole(ctx context.Context, l vault.LoginAdmin, mount, name string) error {
	r, err := l.Role(ctx, mount, name)
	if err != nil {
		return err
	}
	return p.print(map[string]any{
		"id": core.SecretID(r.ID), "mount": r.Mount, "name": r.Name, "role": r.Role, "config": r.Config, "token_type": r.TokenType,
		"token_ttl_secs": int64(r.TokenTTL.Seconds()), "token_max_ttl_secs": int64(r.TokenMaxTTL.Seconds()), "scope": r.Scope,
		"bound_cidrs": r.BoundCIDRs, "valid_from": r.ValidFrom.UTC(),
	})
}

// rotateTokenKey needs the key service beside the database.
func (p program) rotateTokenKey(ctx context.Context) error {
	cfg, warnings, err := config.Load(p.environ)
	p.warn(warnings)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.WriteTimeout)
	defer cancel()
	door, closeDoor, err := service.OpenWithKeys(ctx, cfg, newLogger(p.errOut, cfg.LogLevel))
	if err != nil {
		return failed(err)
	}
	defer func() { _ = closeDoor() }()
	id, _, err := door.OperatorLogins(vault.Operator{Name: osUser()}).RotateTokenKey(ctx)
	return failed(p.say(err, "batch tokens are sealed with the new key %s from now on", core.SecretID(id)))
}
