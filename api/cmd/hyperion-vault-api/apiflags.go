package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// apiFlags say where the API of a vault of ours is, and by whose right it is used.
type apiFlags struct{ address, tokenFile, caFile, mount string }

// register adds the flags. use is what the command does with the API.
func (a *apiFlags) register(flags *pflag.FlagSet, use string) {
	flags.StringVar(&a.address, "address", "", "address of the API to "+use+", as in https://vault.example.org:8200")
	flags.StringVar(&a.tokenFile, "token-file", "", "file of mode 0600 with a token of that API")
	flags.StringVar(&a.caFile, "ca-file", "", "certificate authorities of that API; none = those of the system")
	flags.StringVar(&a.mount, "mount", "secret", "VAULT_KV_MOUNT of that API")
}

// open returns a client of the API, which the caller closes.
func (a *apiFlags) open(use string) (*migrate.Client, error) {
	token, err := readToken(a.tokenFile)
	if err != nil {
		return nil, err
	}
	roots, err := readRoots(a.caFile)
	if err != nil {
		return nil, err
	}
	c, err := migrate.NewClient(migrate.ClientConfig{Address: a.address, Mount: a.mount, Token: token, Roots: roots})
	if err != nil {
		return nil, fmt.Errorf("the API to %s: %w", use, err)
	}
	return c, nil
}
