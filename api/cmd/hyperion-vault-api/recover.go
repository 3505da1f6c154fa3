package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

func newRecoverCommand(p program) *cobra.Command {
	var identity string
	var version uint64
	c := &cobra.Command{
		Use: "recover NAME", Short: "Read a secret with the recovery key and print its value as it is", Args: cobra.ExactArgs(1),
		Long: "Read a secret with the private key of VAULT_RECOVERY_RECIPIENT, without any key service. Needs the VAULT_PG_* settings.\n" +
			"Only versions that were made while that was set can be read so. The read is audited.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.recover(cmd.Context(), args[0], version, identity)
		},
	}
	c.Flags().StringVar(&identity, "identity", "", "identity file, as age-keygen writes it")
	c.Flags().Uint64Var(&version, "version", 0, "version to read; 0 is the current one")
	_ = c.MarkFlagRequired("identity")
	return c
}

func (p program) recover(ctx context.Context, name string, version uint64, identity string) error {
	cfg, warnings, err := config.LoadStore(p.environ)
	p.warn(warnings)
	if err != nil {
		return err
	}
	file, err := os.ReadFile(identity)
	defer clear(file)
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.RequestTimeout)
	defer cancel()
	door, closeDoor, err := service.OpenRecovery(ctx, cfg, file)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = closeDoor() }()
	return failed(p.writeValue(door.Recover(ctx, vault.Operator{Name: osUser()}, name, version)))
}

// writeValue prints the value of v, unless there is an error, and wipes it.
func (p program) writeValue(v vault.Value, err error) error {
	defer v.Wipe()
	if err != nil {
		return err
	}
	_, err = p.out.Write(v.Plain)
	return err
}
