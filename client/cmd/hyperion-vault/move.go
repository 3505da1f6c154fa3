package main

import (
	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/cmd/migration"
)

// moving returns the commands that bring secrets from elsewhere, and copy them to there.
func (p *program) moving() []*cobra.Command {
	h := migration.Host{
		Environ: func() []string { return p.environ }, Out: p.out, ErrOut: p.errOut, ExitFailed: exitFailed, FileFlag: "file", Own: p.ownVault,
		Failed: func(err error) error {
			if err == nil {
				return nil
			}
			return failure{err}
		},
	}
	all := []*cobra.Command{h.Import(), h.Export()}
	for _, c := range all {
		c.PreRunE = func(*cobra.Command, []string) error {
			if p.flags.output != "" || p.flags.field != "" {
				return usagef("the report of %q has one form; -o, --output and --field are not for it", c.CommandPath())
			}
			return nil
		}
	}
	return all
}

// ownVault says where the vault is, for requests that the client has no call for.
func (p *program) ownVault() (v migration.Vault, err error) {
	cfg, err := p.config()
	if err != nil {
		return v, err
	}
	if _, err := p.connect(); err != nil { // it checks the settings, and connects to nothing yet
		return v, err
	}
	if cfg.Token == "" {
		return v, usagef("there is no token; log in with \"hyperion-vault login\", or set VAULT_TOKEN")
	}
	settings, err := cfg.TLS.Load()
	if err != nil {
		return v, usageError{err}
	}
	return migration.Vault{Address: cfg.Address, Token: cfg.Token, PlainHTTP: cfg.PlainHTTP, TLS: settings, Timeout: cfg.Timeout}, nil
}
