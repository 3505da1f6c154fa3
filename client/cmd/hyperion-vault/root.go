package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/client"
)

// globalFlags are those of every command.
type globalFlags struct {
	address, caCert, clientCert, clientKey string
	output, field                          string
}

const rootLong = `hyperion-vault reads and manages the secrets of a HyperionDB Vault.

It finds the vault by VAULT_ADDR, and presents the token of VAULT_TOKEN or of the file ~/.vault-token, which "login"
writes.`

// environment is what the help and the manual page say about variables.
var environment = [][2]string{
	{"VAULT_ADDR", "address of the vault; without it https://127.0.0.1:8200"},
	{"VAULT_TOKEN", "token; without it that of ~/.vault-token"},
	{"VAULT_CACERT", "file of the authority that has signed the server's certificate"},
	{"VAULT_CAPATH", "directory of such files"},
	{"VAULT_CLIENT_CERT", "client certificate"},
	{"VAULT_CLIENT_KEY", "its key"},
	{"VAULT_TLS_SERVER_NAME", "name to expect in the server's certificate"},
	{"VAULT_CLIENT_TIMEOUT", "limit of one request, as in 30s; 60s without it"},
	{"VAULT_MAX_RETRIES", "how often a request may be sent again; 4 without it"},
	{"VAULT_READ_CONSISTENCY", "primary or local; what the server is set to without it"},
	{"VAULT_PLAIN_HTTP", "true allows http:// to other machines"},
	{"NO_COLOR", "switches colours off"},
}

// exitCodes is what the help and the manual page say about them.
var exitCodes = [][2]string{
	{"0", "done"},
	{"1", "the arguments or settings are wrong, and nothing was sent"},
	{"2", "refused, missing or unavailable"},
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use: "hyperion-vault", Short: "Read and manage the secrets of a HyperionDB Vault", Long: rootLong, Version: version,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(p.out)
	root.SetErr(p.errOut)
	root.SetVersionTemplate("hyperion-vault {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&p.flags.address, "address", "", "address of the vault (VAULT_ADDR)")
	f.StringVar(&p.flags.caCert, "ca-cert", "", "file of the authority to trust (VAULT_CACERT)")
	f.StringVar(&p.flags.clientCert, "client-cert", "", "client certificate (VAULT_CLIENT_CERT)")
	f.StringVar(&p.flags.clientKey, "client-key", "", "key of the client certificate (VAULT_CLIENT_KEY)")
	f.StringVarP(&p.flags.output, "output", "o", "", "form of the answer: table, json, yaml or raw")
	f.StringVar(&p.flags.field, "field", "", "print one field of the answer alone")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml", "raw"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return p.checkOutput() }
	root.AddCommand(
		p.getCommand(), p.putCommand(), p.rmCommand(), p.undeleteCommand(), p.lsCommand(), p.searchCommand(),
		p.versionsCommand(), p.diffCommand(), p.rotateCommand(), p.verifyCommand(), p.expireCommand(), p.settingsCommand(),
		p.whoMayCommand(), p.grantCommand(), p.revokeCommand(), p.auditCommand(), p.statusCommand(), p.watchCommand(),
		p.loginCommand(), p.tokenCommand(), p.roleCommand(), p.leaseCommand(), p.execCommand(),
	)
	root.AddCommand(p.moving()...)
	root.CompletionOptions.HiddenDefaultCmd = false
	explainUsage(root)
	return root
}

func (p *program) checkOutput() error {
	if !slices.Contains([]string{"", "table", "json", "yaml", "raw"}, p.flags.output) {
		return usagef("-o is table, json, yaml or raw")
	}
	p.color = isTerminal(p.out) && !slices.ContainsFunc(p.environ, func(e string) bool { return strings.HasPrefix(e, "NO_COLOR=") && e != "NO_COLOR=" })
	return nil
}

// config is what the environment and the flags say.
func (p *program) config() (client.Config, error) {
	cfg, err := client.FromEnviron(p.environ)
	if err != nil {
		return cfg, usageError{err}
	}
	for _, f := range []struct {
		from string
		to   *string
	}{
		{p.flags.address, &cfg.Address}, {p.flags.caCert, &cfg.TLS.CAFile}, {p.flags.clientCert, &cfg.TLS.CertFile}, {p.flags.clientKey, &cfg.TLS.KeyFile},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	return cfg, nil
}

// connect makes the client of the call.
func (p *program) connect() (*client.Client, error) {
	if p.client != nil {
		return p.client, nil
	}
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	p.client, err = client.New(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return p.client, nil
}

// explainUsage makes every wrong call name what is wanted.
func explainUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) == nil {
				return nil
			}
			if c.HasSubCommands() && len(args) > 0 {
				return usagef("unknown command %q for %q", args[0], c.CommandPath())
			}
			_, wanted, _ := strings.Cut(strings.TrimSuffix(c.Use, " [flags]"), " ")
			if wanted == "" {
				wanted = "no argument"
			}
			return usagef("%q takes %s", c.CommandPath(), wanted)
		}
	}
	for _, child := range c.Commands() {
		explainUsage(child)
	}
}

// seconds reads a time like 90s, 12h or 30d.
func seconds(flag, text string) (int64, error) {
	days, isDays := strings.CutSuffix(text, "d")
	if isDays {
		text = days + "h"
	}
	d, err := time.ParseDuration(text)
	if isDays {
		d *= 24
	}
	if err != nil || d < 0 || d%time.Second != 0 {
		return 0, usagef("--%s is a time in whole seconds, like 90s, 12h or 30d", flag)
	}
	return int64(d / time.Second), nil
}

// span prints seconds as seconds reads them.
func span(secs int64) string {
	switch {
	case secs != 0 && secs%86400 == 0:
		return fmt.Sprintf("%dd", secs/86400)
	case secs != 0 && secs%3600 == 0:
		return fmt.Sprintf("%dh", secs/3600)
	case secs != 0 && secs%60 == 0:
		return fmt.Sprintf("%dm", secs/60)
	}
	return fmt.Sprintf("%ds", secs)
}
