package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// exportFlags are what "export" is told.
type exportFlags struct {
	apiFlags
	to, name, prefix string
	output           string
	recipients       []string
	plaintext        bool
	targetTokenFile  string
	targetMount      string
	below            string
	overwrite        bool
}

func newExportCommand(p program) *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use: "export --to KIND", Short: "Copy secrets of this vault to a sealed file, to Vault or to OpenBao", Args: cobra.NoArgs,
		Long: "Copy secrets that the token of --token-file may read, through the API of --address. Each read is in the audit. KIND is json\n" +
			"(all versions and settings), dotenv (the current version of the secret --name, as KEY='value' lines), or vault and openbao (a\n" +
			"KV engine of version 2 of the server that VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT and VAULT_NAMESPACE say).\n" +
			"json and dotenv are sealed with age for each --recipient. With --plaintext they are not. \"import\" reads both.\n" +
			"Each secret has a line on standard error. Exit code 0: everything was exported. 1: something was not, and the report says what.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return p.export(cmd.Context(), f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.to, "to", "", "json, dotenv, vault or openbao")
	f.register(flags, "export from")
	flags.StringVar(&f.prefix, "prefix", "", "prefix of the names to export; none = all")
	flags.StringVar(&f.name, "name", "", "name of the secret that becomes a dotenv file")
	flags.StringVar(&f.output, "output", "", "file to make, of mode 0600; none = standard output")
	flags.StringArrayVar(&f.recipients, "recipient", nil, "public key of age (age1...) to seal for; may be given several times")
	flags.BoolVar(&f.plaintext, "plaintext", false, "do not seal")
	flags.StringVar(&f.targetTokenFile, "target-token-file", "", "file of mode 0600 with the token of vault or openbao, in place of VAULT_TOKEN")
	flags.StringVar(&f.targetMount, "target-mount", "secret", "mount of the KV engine of vault or openbao")
	flags.StringVar(&f.below, "below", "", "what the names get before them in vault or openbao, and a slash")
	flags.BoolVar(&f.overwrite, "overwrite", false, "write newer versions, and settings, where a secret of vault or openbao differs")
	return c
}

// check finds what is wrong with the call itself.
func (f *exportFlags) check() error {
	isFile := f.to == "json" || f.to == "dotenv"
	isSealed := len(f.recipients) > 0
	switch {
	case !isFile && f.to != "vault" && f.to != "openbao":
		return errors.New("--to wants json, dotenv, vault or openbao")
	case isFile && isSealed == f.plaintext:
		return errors.New("json and dotenv need either --recipient or --plaintext")
	case !isFile && (isSealed || f.plaintext || f.output != ""):
		return errors.New("--recipient, --plaintext and --output are for json and dotenv")
	case isFile && (f.below != "" || f.overwrite || f.targetTokenFile != ""):
		return errors.New("--below, --overwrite and --target-token-file are for vault and openbao")
	case (f.to == "dotenv") != (f.name != ""):
		return errors.New("--name is needed for dotenv, and is for nothing else")
	case f.name != "" && f.prefix != "":
		return errors.New("--name and --prefix exclude each other")
	case f.address == "" || f.tokenFile == "":
		return errors.New("export needs --address and --token-file")
	}
	if f.below != "" {
		f.below = strings.TrimSuffix(f.below, "/") + "/"
	}
	return nil
}

func (p program) export(ctx context.Context, f exportFlags) error {
	client, err := f.open("export from")
	if err != nil {
		return failed(err)
	}
	defer client.Close()
	own := &migrate.Own{Client: client, Prefix: f.prefix, Current: f.to == "dotenv"}
	var report migrate.Report
	if f.to == "vault" || f.to == "openbao" {
		report, err = p.exportToServer(ctx, f, own)
	} else {
		report, err = p.exportToFile(ctx, f, own)
	}
	where := p.out
	if f.output == "" && (f.to == "json" || f.to == "dotenv") {
		where = p.errOut // what was exported is on standard output
	}
	if err == nil || report.Any() {
		if werr := writeReport(where, "exported", &report); werr != nil {
			return failed(errors.Join(err, werr))
		}
	}
	switch {
	case err != nil:
		return failed(fmt.Errorf("the export is not complete: %w", err))
	case !report.Complete():
		return failed(errors.New("not everything was exported; the report says what"))
	}
	return nil
}

func (p program) exportToServer(ctx context.Context, f exportFlags, own *migrate.Own) (report migrate.Report, err error) {
	target, err := p.foreign(f.targetMount, f.targetTokenFile, "--target-token-file")
	if err != nil {
		return report, fmt.Errorf("the server to export to: %w", err)
	}
	defer target.Close()
	im := migrate.Importer{Source: own, Target: target, Foreign: true, Below: f.below, Overwrite: f.overwrite}
	return p.move(ctx, "exporting", own, &im.Progress, im.Run)
}

// exportToFile leaves no file behind if the export fails.
func (p program) exportToFile(ctx context.Context, f exportFlags, own *migrate.Own) (report migrate.Report, err error) {
	out, err := p.openOutput(f.output, f.plaintext)
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
		if report, err = p.exportTo(ctx, f, own, sealed); err != nil {
			return report, err
		}
		return report, sealed.Close()
	}
	return p.exportTo(ctx, f, own, to)
}

func (p program) exportTo(ctx context.Context, f exportFlags, own *migrate.Own, to io.Writer) (report migrate.Report, err error) {
	ex := migrate.Exporter{Source: own}
	if f.to == "dotenv" {
		if ex.Source, err = own.One(ctx, f.name); err != nil {
			return report, err
		}
		ex.Sink = migrate.NewDotenvWriter(to)
	} else if ex.Sink, err = migrate.NewLineWriter(to, time.Now()); err != nil {
		return report, fmt.Errorf("write the export: %w", err)
	}
	return p.move(ctx, "exporting", ex.Source, &ex.Progress, ex.Run)
}
