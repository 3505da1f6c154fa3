package migration

import (
	"cmp"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// foreignFlags say where another product's server is. side is "source" or "target", and begins the names of the flags.
type foreignFlags struct{ side, address, tokenFile, caCert, mount, namespace string }

func (f *foreignFlags) register(h Host, flags *pflag.FlagSet, side string) {
	f.side = side
	instead := func(variable string) string {
		if h.Own != nil {
			return ""
		}
		return ", in place of " + variable
	}
	flags.StringVar(&f.address, side+"-address", "", "address of the vault or openbao that is the "+side+instead("VAULT_ADDR and the other variables"))
	flags.StringVar(&f.tokenFile, side+"-token-file", "", "file of mode 0600 with the token of the "+side+instead("VAULT_TOKEN"))
	flags.StringVar(&f.caCert, side+"-ca-cert", "", "file of the authority to trust for the "+side+instead("VAULT_CACERT"))
	flags.StringVar(&f.namespace, side+"-namespace", "", "namespace at the "+side+instead("VAULT_NAMESPACE"))
	flags.StringVar(&f.mount, side+"-mount", "secret", "mount of the KV engine of the "+side)
}

// check finds what is wrong with the flags. isServer is whether there is a foreign server at all.
func (f *foreignFlags) check(h Host, isServer bool) error {
	switch {
	case !isServer && f.address+f.caCert+f.namespace != "":
		return fmt.Errorf("--%s-address and its siblings are for vault and openbao", f.side)
	case !isServer:
		return nil
	case h.Own != nil && (f.address == "" || f.tokenFile == ""):
		return fmt.Errorf("vault and openbao need --%[1]s-address and --%[1]s-token-file; VAULT_ADDR and VAULT_TOKEN are those of this vault", f.side)
	case f.address != "" && f.tokenFile == "":
		return fmt.Errorf("--%[1]s-address needs --%[1]s-token-file; VAULT_TOKEN is for VAULT_ADDR", f.side)
	}
	return nil
}

// open returns a client of the server, which the caller closes. A server that a flag names gets nothing of what the variables
// say: they are of another one.
func (f *foreignFlags) open(h Host) (*migrate.Client, error) {
	cfg := migrate.ClientConfig{Address: f.address, Mount: f.mount, Namespace: f.namespace}
	ca := f.caCert
	if f.address == "" {
		cfg.Address, cfg.Token = h.variable("VAULT_ADDR"), h.variable("VAULT_TOKEN")
		cfg.Namespace = cmp.Or(f.namespace, h.variable("VAULT_NAMESPACE"))
		ca = cmp.Or(f.caCert, h.variable("VAULT_CACERT"))
	}
	var err error
	if f.tokenFile != "" {
		if cfg.Token, err = readToken(f.tokenFile); err != nil {
			return nil, err
		}
	}
	if cfg.Token == "" {
		return nil, fmt.Errorf("it needs VAULT_TOKEN or --%s-token-file", f.side)
	}
	if cfg.Roots, err = readRoots(ca); err != nil {
		return nil, err
	}
	return migrate.NewClient(cfg)
}
