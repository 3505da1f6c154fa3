package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

type loginOptions struct {
	method, mount, role, roleID, user, source string
	noStore                                   bool
}

func (p *program) loginCommand() *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use: "login [@FILE|-]", Short: "Log in, and keep the token", Args: cobra.MaximumNArgs(1),
		Long: `login checks a token, or gets one by AppRole, JWT, client certificate or password, and keeps it in ~/.vault-token,
which only you can read. The token, the secret id, the JWT or the password comes from a file (@FILE), from the
standard input (-), or from a prompt. With --no-store the token is printed instead.`,
		Example: "hyperion-vault login\nhyperion-vault login --method approle --role-id ID @secret-id\n" +
			"hyperion-vault login --method jwt --role ci @/var/run/secrets/token\nhyperion-vault login --method cert\n" +
			"hyperion-vault login --method userpass --user alice",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.source = args[0]
			}
			token, err := p.logIn(c.Context(), &o)
			if err != nil {
				return err
			}
			return p.keepToken(c.Context(), token, o.noStore)
		},
	}
	f := c.Flags()
	f.StringVar(&o.method, "method", "token", "token, approle, jwt, cert or userpass")
	f.StringVar(&o.mount, "mount", "", "where the login method is; the name of the method without it")
	f.StringVar(&o.role, "role", "", "role of the login method (jwt, cert)")
	f.StringVar(&o.roleID, "role-id", "", "role id (approle)")
	f.StringVar(&o.user, "user", "", "name of the user (userpass)")
	f.BoolVar(&o.noStore, "no-store", false, "print the token and do not keep it")
	_ = c.RegisterFlagCompletionFunc("method", cobra.FixedCompletions([]string{"token", "approle", "jwt", "cert", "userpass"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// logIn returns a token.
func (p *program) logIn(ctx context.Context, o *loginOptions) (string, error) {
	label, err := o.proofOf()
	if err != nil {
		return "", err
	}
	cl, err := p.bare(o.method == "cert")
	if err != nil {
		return "", err
	}
	secret := ""
	if label != "" {
		if secret, err = p.proof(o.source, label); err != nil {
			return "", err
		}
	}
	mount := o.mount
	if mount == "" {
		mount = o.method
	}
	var login *client.Login
	switch o.method {
	case "token":
		return secret, nil
	case "approle":
		login, err = cl.LoginAppRole(ctx, mount, o.roleID, secret)
	case "jwt":
		login, err = cl.LoginJWT(ctx, mount, o.role, secret)
	case "userpass":
		login, err = cl.LoginPassword(ctx, mount, o.user, secret)
	case "cert":
		login, err = loginByCertificate(ctx, cl, mount, o.role)
	}
	if err != nil {
		return "", err
	}
	return login.Token, nil
}

// loginByCertificate says what may be wrong when a server is gone before it can be heard, as one is that refuses a certificate.
func loginByCertificate(ctx context.Context, cl *client.Client, mount, role string) (*client.Login, error) {
	login, err := cl.LoginCertificate(ctx, mount, role)
	if client.CodeOf(err) == client.Unreachable {
		err = fmt.Errorf("%w; perhaps the server does not trust the certificate of VAULT_CLIENT_CERT", err)
	}
	return login, err
}

// bare returns a client without a token: one that does not work any longer must not stop a login.
func (p *program) bare(withCertificate bool) (*client.Client, error) {
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	if withCertificate && cfg.TLS.CertFile == "" {
		return nil, usagef("a login by certificate needs one: set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY to its files")
	}
	cfg.Token = ""
	if p.client, err = client.New(cfg); err != nil {
		return nil, usageError{err}
	}
	return p.client, nil
}

// keepToken checks a token and writes it into the file, or prints it.
func (p *program) keepToken(ctx context.Context, token string, print bool) error {
	cl, err := p.client.WithToken(token)
	if err != nil {
		return usageError{err}
	}
	self, err := cl.ShowToken(ctx, client.Self)
	if err != nil {
		return err
	}
	if print {
		_, err := fmt.Fprintln(p.out, token)
		return failed(err)
	}
	path, err := p.writeTokenFile(token)
	if err != nil {
		return failure{err}
	}
	if p.variable("VAULT_TOKEN") != "" {
		_, _ = fmt.Fprintln(p.errOut, "note: VAULT_TOKEN is set, and goes before the token in "+path)
	}
	return p.one(self, func() {
		until := "does not end"
		if self.ExpiresAt != nil {
			until = "ends at " + when(self.ExpiresAt)
		}
		_, _ = fmt.Fprintf(p.out, "logged in as the role %s; the token %s and is in %s\n", self.Role, until, path)
	})
}

func (p *program) variable(name string) string {
	for _, e := range p.environ {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// writeTokenFile replaces the file, so that it is never there with other rights, or in part.
func (p *program) writeTokenFile(token string) (string, error) {
	home := p.variable("HOME")
	if home == "" {
		return "", errors.New("HOME is not set, so there is no place for the token; use --no-store")
	}
	path := filepath.Join(home, client.TokenFile)
	f, err := os.CreateTemp(home, client.TokenFile+"-*") // of mode 0600
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(token + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

func (p *program) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Make, list, renew and revoke tokens", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(p.tokenCreateCommand(), p.tokenLsCommand(), p.tokenShowCommand(), p.tokenRenewCommand(), p.tokenRevokeCommand())
	return c
}

type tokenOptions struct {
	role, ttl, maxTTL string
	scopes, cidrs     []string
	fixed             bool
}

func (p *program) tokenCreateCommand() *cobra.Command {
	var o tokenOptions
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token", Args: cobra.ExactArgs(1),
		Long: `create makes a token and shows it, this once. With --role it acts as that role, for which you need the action manage on
every name. Without it, it is a child of your own token, which can do no more and ends with it.`,
		Example: "hyperion-vault token create ci --role ci --ttl 1h -o raw\nhyperion-vault token create job --scope 'app/*=read,verify'",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := o.token(args[0])
			if err != nil {
				return err
			}
			cl, err := p.connect()
			if err != nil {
				return err
			}
			t, err := cl.CreateToken(c.Context(), n)
			if err != nil {
				return err
			}
			if p.flags.output == "raw" && p.flags.field == "" {
				_, err := fmt.Fprintln(p.out, t.Token)
				return failed(err)
			}
			return p.one(t, func() { p.printToken(t) })
		},
	}
	f := c.Flags()
	f.StringVar(&o.role, "role", "", "role of PostgreSQL that the token acts as")
	f.StringVar(&o.ttl, "ttl", "", "how long it is valid, as in 1h; 0s does not end")
	f.StringVar(&o.maxTTL, "max-ttl", "", "how long renewals may keep it")
	f.StringArrayVar(&o.scopes, "scope", nil, "what it may do at most, as in 'app/*=read,verify'; may be repeated")
	f.StringSliceVar(&o.cidrs, "cidr", nil, "networks from which it may be used")
	f.BoolVar(&o.fixed, "not-renewable", false, "it cannot be renewed")
	return c
}

// token returns the token that the flags ask for.
func (o *tokenOptions) token(name string) (client.NewToken, error) {
	n := client.NewToken{Name: name, Role: o.role, BoundCIDRs: o.cidrs}
	if o.ttl != "" {
		secs, err := seconds("ttl", o.ttl)
		if err != nil {
			return n, err
		}
		n.TTLSecs = &secs
	}
	if o.maxTTL != "" {
		var err error
		if n.MaxTTLSecs, err = seconds("max-ttl", o.maxTTL); err != nil {
			return n, err
		}
	}
	if o.fixed {
		n.Renewable = new(false)
	}
	for _, s := range o.scopes {
		pattern, actions, ok := strings.Cut(s, "=")
		if !ok {
			return n, usagef("--scope is like PATTERN=ACTION,ACTION")
		}
		n.Scope = append(n.Scope, client.Scope{Pattern: pattern, Actions: strings.Split(actions, ",")})
	}
	return n, nil
}

func (p *program) printToken(t *client.Token) {
	table := p.rows(column{"FIELD", 10}, column{"VALUE", 0})
	add := func(name, value string) {
		if value != "" {
			table.add(name, value)
		}
	}
	add("token", t.Token)
	add("accessor", t.Accessor)
	add("name", t.Name)
	add("role", t.Role)
	add("method", t.Method)
	for _, scope := range t.Scopes {
		var parts []string
		for _, s := range scope {
			parts = append(parts, s.Pattern+"="+strings.Join(s.Actions, ","))
		}
		add("scope", strings.Join(parts, " "))
	}
	add("networks", strings.Join(t.BoundCIDRs, " "))
	add("created", when(&t.CreatedAt))
	add("ends", when(t.ExpiresAt))
	if t.RevokedAt != nil {
		add("revoked", when(t.RevokedAt))
	}
}

func (p *program) tokenLsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List your token and those made by it, or all of them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			out := list{p: p}
			table := p.rows(column{"ACCESSOR", 36}, column{"ROLE", 16}, column{"STATE", 28}, column{"NAME", 0})
			for t, err := range cl.Tokens(c.Context()) {
				if err != nil {
					return err
				}
				if err := out.add(t, func() { table.add(t.Accessor, t.Role, tokenState(t), t.Name) }); err != nil {
					return err
				}
			}
			return out.end()
		},
	}
}

func tokenState(t client.Token) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt == nil:
		return "does not end"
	case t.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "until " + when(t.ExpiresAt)
}

func (p *program) tokenShowCommand() *cobra.Command {
	return p.onToken("show [ACCESSOR]", "Show a token; your own without an accessor", func(ctx context.Context, cl *client.Client, accessor string) (*client.Token, error) {
		return cl.ShowToken(ctx, accessor)
	})
}

func (p *program) tokenRenewCommand() *cobra.Command {
	var by string
	c := p.onToken("renew [ACCESSOR]", "Move the end of a token; of your own without an accessor", func(ctx context.Context, cl *client.Client, accessor string) (*client.Token, error) {
		secs, err := seconds("by", by)
		if err != nil {
			return nil, err
		}
		return cl.RenewToken(ctx, accessor, secs)
	})
	c.Flags().StringVar(&by, "by", "0s", "how long from now; 0s is the token's own time")
	return c
}

func (p *program) onToken(use, short string, call func(context.Context, *client.Client, string) (*client.Token, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.connect()
			if err != nil {
				return err
			}
			accessor := client.Self
			if len(args) == 1 {
				accessor = args[0]
			}
			if strings.HasPrefix(accessor, "hvt_") || strings.HasPrefix(accessor, "hvb_") {
				return usagef("give the accessor, and not the token: others can read arguments; \"token ls\" lists accessors")
			}
			t, err := call(c.Context(), cl, accessor)
			if err != nil {
				return err
			}
			return p.one(t, func() { p.printToken(t) })
		},
	}
}

func (p *program) tokenRevokeCommand() *cobra.Command {
	c := p.onToken("revoke ACCESSOR", "Revoke a token and all that were made by it", func(ctx context.Context, cl *client.Client, accessor string) (*client.Token, error) {
		t, err := cl.ShowToken(ctx, accessor)
		if err == nil {
			err = cl.RevokeToken(ctx, accessor)
		}
		if err == nil && accessor != client.Self {
			t, err = cl.ShowToken(ctx, accessor)
		}
		return t, err
	})
	c.Args = cobra.ExactArgs(1)
	c.Long = "revoke revokes a token and all that were made by it. \"self\" is your own."
	return c
}
