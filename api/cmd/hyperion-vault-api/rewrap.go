package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/progress"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// progressEvery is how often a rewrap says how far it is.
const progressEvery = 5 * time.Second

func newRewrapCommand(p program) *cobra.Command {
	var rate int
	c := &cobra.Command{
		Use: "rewrap", Short: "Move every data key to the present master key", Args: cobra.NoArgs,
		Long: "Move every data key to the present master key. Needs the settings of the server, those of the old key\n" +
			"(VAULT_OLD_LOCAL_MASTER_KEY or VAULT_OLD_KMS_KEY_ID) among them. Values stay as they are,\n" +
			"servers go on meanwhile, and a run that is stopped goes on where it was when it is called again.",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.rewrap(cmd.Context(), rate) },
	}
	c.Flags().IntVar(&rate, "rate", vault.DefaultRewrapRate, fmt.Sprintf("versions a second at most, 1 to %d", vault.MaxRewrapRate))
	return c
}

func (p program) rewrap(ctx context.Context, rate int) error {
	cfg, warnings, err := config.Load(p.environ)
	p.warn(warnings)
	if err != nil {
		return err
	}
	door, closeDoor, err := service.OpenWithKeys(ctx, cfg, newLogger(p.errOut, cfg.LogLevel))
	if err != nil {
		return failed(err)
	}
	defer func() { _ = closeDoor() }()
	say, done := p.rewrapProgress()
	s, err := door.Rewrap(ctx, vault.Operator{Name: osUser()}, rate, say)
	done()
	if s.Key != "" {
		fmt.Fprintf(p.out, "%s: %d moved, %d skipped, %d failed of %d, %d remaining; key %s\n", s.State, s.Moved, s.Skipped, s.Failed, s.Total, s.Remaining, s.Key)
	}
	for _, k := range s.Under {
		fmt.Fprintf(p.errOut, "%d remain under %s\n", k.Versions, core.Quote(k.KeyID))
	}
	if f := s.LastFailed; f.Name != "" {
		fmt.Fprintf(p.errOut, "the last that failed: %s, version %d: %s\n", f.Name, f.Version, f.Error)
	}
	if err == nil && s.Failed > 0 {
		err = fmt.Errorf("%d versions could not be moved and were left as they are", s.Failed)
	}
	return failed(err)
}

// rewrapProgress returns what says how far a rewrap is, and what ends that.
func (p program) rewrapProgress() (say func(vault.RewrapStatus), done func()) {
	if progress.IsTerminal(p.errOut) {
		bar := progress.New(p.errOut, "rewrapping", -1)
		return func(s vault.RewrapStatus) { bar.Set(int(s.Moved+s.Skipped+s.Failed), int(s.Total)) }, bar.Close
	}
	var said time.Time
	return func(s vault.RewrapStatus) {
		if now := time.Now(); now.Sub(said) >= progressEvery {
			said = now
			fmt.Fprintf(p.errOut, "%d of %d moved, %d skipped, %d failed\n", s.Moved, s.Total, s.Skipped, s.Failed)
		}
	}, func() {}
}
