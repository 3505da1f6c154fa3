package migration

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// apiFlags say where the API of a vault of ours is, and by whose right it is used. A program that knows its vault has the mount
// alone.
type apiFlags struct{ address, tokenFile, caFile, mount string }

// register adds the flags. use is what the command does with the API.
func (a *apiFlags) register(h Host, flags *pflag.FlagSet, use string) {
	if h.Own != nil {
		flags.StringVar(&a.mount, "mount", "secret", "VAULT_KV_MOUNT of the vault to "+use)
		return
	}
	flags.StringVar(&a.address, "address", "", "address of the API to "+use+", as in https://vault.example.org:8200")
	flags.StringVar(&a.tokenFile, "token-file", "", "file of mode 0600 with a token of that API")
	flags.StringVar(&a.caFile, "ca-file", "", "certificate authorities of that API; none = those of the system")
	flags.StringVar(&a.mount, "mount", "secret", "VAULT_KV_MOUNT of that API")
}

// open returns a client of the API, which the caller closes. An error is as the program wants it.
func (a *apiFlags) open(h Host, use string) (*migrate.Client, error) {
	cfg, err := a.config(h)
	if err != nil {
		return nil, err
	}
	cfg.Mount = a.mount
	c, err := migrate.NewClient(cfg)
	if err != nil {
		return nil, h.Failed(fmt.Errorf("the API to %s: %w", use, err))
	}
	return c, nil
}

func (a *apiFlags) config(h Host) (migrate.ClientConfig, error) {
	if h.Own != nil {
		own, err := h.Own()
		return migrate.ClientConfig{Address: own.Address, Token: own.Token, PlainHTTP: own.PlainHTTP, TLS: own.TLS, Timeout: own.Timeout}, err
	}
	token, err := readToken(a.tokenFile)
	if err != nil {
		return migrate.ClientConfig{}, h.Failed(err)
	}
	roots, err := readRoots(a.caFile)
	return migrate.ClientConfig{Address: a.address, Token: token, Roots: roots}, h.Failed(err)
}
