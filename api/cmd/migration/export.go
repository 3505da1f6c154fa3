package migration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// exportFlags are what "export" is told.
type exportFlags struct {
	apiFlags
	to, name, prefix string
	output           string
	recipients       []string
	plaintext        bool
	foreign          foreignFlags
	below            string
	overwrite        bool
}

// Export returns the command that copies secrets out of a vault.
func (h Host) Export() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use: "export --to KIND", Short: "Copy secrets of this vault to a sealed file, to Vault or to OpenBao", Args: cobra.NoArgs,
		Long: h.exportHelp(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(h); err != nil {
				return err
			}
			return h.export(cmd.Context(), f)
		},
	}
	if h.Own != nil {
		c.Example = "hyperion-vault export --to json --recipient age1... --file export.age\n" +
			"hyperion-vault export --to dotenv --name app/env --plaintext | less\n" +
			"hyperion-vault export --to openbao --prefix app --target-address https://new.example.org:8200 --target-token-file new.token"
	}
	f.bind(h, c.Flags())
	_ = c.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"json", "dotenv", "vault", "openbao"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (f *exportFlags) bind(h Host, flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "to", "", "json, dotenv, vault or openbao")
	f.register(h, flags, "export from")
	f.foreign.register(h, flags, "target")
	flags.StringVar(&f.prefix, "prefix", "", "prefix of the names to export; none = all")
	flags.StringVar(&f.name, "name", "", "name of the secret that becomes a dotenv file")
	flags.StringVar(&f.output, h.FileFlag, "", "file to make, of mode 0600; none = standard output")
	flags.StringArrayVar(&f.recipients, "recipient", nil, "public key of age (age1...) to seal for; may be given several times")
	flags.BoolVar(&f.plaintext, "plaintext", false, "do not seal")
	flags.StringVar(&f.below, "below", "", "what the names get before them in vault or openbao, and a slash")
	flags.BoolVar(&f.overwrite, "overwrite", false, "write newer versions, and settings, where a secret of vault or openbao differs")
}

// check finds what is wrong with the call itself.
func (f *exportFlags) check(h Host) error {
	isSealed := len(f.recipients) > 0
	switch {
	case !isFile(f.to) && !isServer(f.to):
		return errors.New("--to wants json, dotenv, vault or openbao")
	case isFile(f.to) && isSealed == f.plaintext:
		return errors.New("json and dotenv need either --recipient or --plaintext")
	case isServer(f.to) && (isSealed || f.plaintext || f.output != ""):
		return fmt.Errorf("--recipient, --plaintext and --%s are for json and dotenv", h.FileFlag)
	case isFile(f.to) && (f.below != "" || f.overwrite || f.foreign.tokenFile != ""):
		return errors.New("--below, --overwrite and --target-token-file are for vault and openbao")
	case (f.to == "dotenv") != (f.name != ""):
		return errors.New("--name is needed for dotenv, and is for nothing else")
	case f.name != "" && f.prefix != "":
		return errors.New("--name and --prefix exclude each other")
	case h.Own == nil && (f.address == "" || f.tokenFile == ""):
		return errors.New("export needs --address and --token-file")
	}
	if err := f.foreign.check(h, isServer(f.to)); err != nil {
		return err
	}
	if f.below != "" {
		f.below = strings.TrimSuffix(f.below, "/") + "/"
	}
	return nil
}

func (h Host) export(ctx context.Context, f exportFlags) error {
	client, err := f.open(h, "export from")
	if err != nil {
		return err
	}
	defer client.Close()
	own := &migrate.Own{Client: client, Prefix: f.prefix, Current: f.to == "dotenv"}
	var report migrate.Report
	if isServer(f.to) {
		report, err = h.exportToServer(ctx, f, own)
	} else {
		report, err = h.exportToFile(ctx, f, own)
	}
	where := h.Out
	if f.output == "" && isFile(f.to) {
		where = h.ErrOut // what was exported is on standard output
	}
	if err == nil || report.Any() {
		if werr := writeReport(where, "exported", &report); werr != nil {
			return h.Failed(errors.Join(err, werr))
		}
	}
	switch {
	case err != nil:
		return h.Failed(fmt.Errorf("the export is not complete: %w", err))
	case !report.Complete():
		return h.Failed(errors.New("not everything was exported; the report says what"))
	}
	return nil
}

func (h Host) exportToServer(ctx context.Context, f exportFlags, own *migrate.Own) (report migrate.Report, err error) {
	target, err := f.foreign.open(h)
	if err != nil {
		return report, fmt.Errorf("the server to export to: %w", err)
	}
	defer target.Close()
	im := migrate.Importer{Source: own, Target: target, Foreign: true, Below: f.below, Overwrite: f.overwrite}
	return h.move(ctx, "exporting", own, &im.Progress, im.Run)
}

// exportToFile leaves no file behind if the export fails.
func (h Host) exportToFile(ctx context.Context, f exportFlags, own *migrate.Own) (report migrate.Report, err error) {
	out, err := h.openOutput(f.output, f.plaintext)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, out.finish(err == nil)) }()
	to := io.Writer(out)
	if !f.plaintext {
		sealed, err := migrate.Sealed(out, f.recipients)
		if err != nil {
			return report, err
		}
		// An age file that is not closed is known to be incomplete.
		if report, err = h.exportTo(ctx, f, own, sealed); err != nil {
			return report, err
		}
		return report, sealed.Close()
	}
	return h.exportTo(ctx, f, own, to)
}

func (h Host) exportTo(ctx context.Context, f exportFlags, own *migrate.Own, to io.Writer) (report migrate.Report, err error) {
	ex := migrate.Exporter{Source: own}
	if f.to == "dotenv" {
		if ex.Source, err = own.One(ctx, f.name); err != nil {
			return report, err
		}
		ex.Sink = migrate.NewDotenvWriter(to)
	} else if ex.Sink, err = migrate.NewLineWriter(to, time.Now()); err != nil {
		return report, fmt.Errorf("write the export: %w", err)
	}
	return h.move(ctx, "exporting", ex.Source, &ex.Progress, ex.Run)
}
