package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// importFlags are what "import" is told.
type importFlags struct {
	apiFlags
	from, name, file string
	below            string
	overwrite        bool
	foreign          foreignFlags
	prefix, identity string
	sourceSchema     string
}

// Import returns the command that brings secrets into a vault.
func (h Host) Import() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use: "import --from KIND [FILE]", Short: "Bring secrets from Vault, OpenBao or a file into this vault", Args: cobra.MaximumNArgs(1),
		Long: h.importHelp(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(h, args); err != nil {
				return err
			}
			return h.importFrom(cmd.Context(), f)
		},
	}
	if h.Own != nil {
		c.Example = "hyperion-vault import --from json --identity age.key export.age\n" +
			"hyperion-vault import --from dotenv --name app/env .env\n" +
			"hyperion-vault import --from vault --source-address https://old.example.org:8200 --source-token-file old.token --prefix app"
	}
	f.bind(h, c.Flags())
	_ = c.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(h.sources(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (f *importFlags) bind(h Host, flags *pflag.FlagSet) {
	flags.StringVar(&f.from, "from", "", listed(h.sources()))
	f.register(h, flags, "import into")
	f.foreign.register(h, flags, "source")
	flags.StringVar(&f.below, "below", "", "what the names get before them, and a slash")
	flags.BoolVar(&f.overwrite, "overwrite", false, "write newer versions, and settings, where a secret differs")
	flags.StringVar(&f.name, "name", "", "name of the secret that a dotenv file becomes")
	if h.Supabase != nil {
		flags.StringVar(&f.sourceSchema, "source-schema", "", "schema of supabase_vault, as in supabase_vault")
	}
	flags.StringVar(&f.identity, "identity", "", "identity file of age, as age-keygen writes it, for a FILE that is sealed")
	flags.StringVar(&f.prefix, "prefix", "", "names of the source to import: those that begin with it and a slash; none = all")
}

// sources are the kinds of sources that the program can read.
func (h Host) sources() []string {
	if h.Supabase == nil {
		return []string{"vault", "openbao", "json", "dotenv"}
	}
	return []string{"vault", "openbao", "supabase", "json", "dotenv"}
}

// listed joins words as a sentence does.
func listed(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// check finds what is wrong with the call itself.
func (f *importFlags) check(h Host, args []string) error {
	switch {
	case f.from == "supabase" && h.Supabase == nil:
		return errors.New("--from supabase needs a connection to the database, which \"hyperion-vault-api import\" has")
	case !isFile(f.from) && !isServer(f.from) && f.from != "supabase":
		return errors.New("--from wants " + listed(h.sources()))
	case isFile(f.from) != (len(args) == 1):
		return errors.New("json and dotenv need a FILE, and the others take none")
	case f.prefix != "" && !isServer(f.from):
		return errors.New("--prefix is for vault and openbao")
	case (f.from == "supabase") != (f.sourceSchema != ""):
		return errors.New("--source-schema is needed for supabase, and is for nothing else")
	case (f.from == "dotenv") != (f.name != ""):
		return errors.New("--name is needed for dotenv, and is for nothing else")
	case f.identity != "" && !isFile(f.from):
		return errors.New("--identity is for a FILE")
	case h.Own == nil && (f.address == "" || f.tokenFile == ""):
		return errors.New("import needs --address and --token-file")
	}
	if err := f.foreign.check(h, isServer(f.from)); err != nil {
		return err
	}
	if isFile(f.from) {
		f.file = args[0]
	}
	if f.below != "" {
		f.below = strings.TrimSuffix(f.below, "/") + "/"
	}
	return nil
}

func (h Host) importFrom(ctx context.Context, f importFlags) error {
	target, err := f.open(h, "import into")
	if err != nil {
		return err
	}
	defer target.Close()
	source, done, err := h.source(ctx, f)
	if err != nil {
		return h.Failed(err)
	}
	defer done()
	im := migrate.Importer{Source: source, Target: target, Below: f.below, Overwrite: f.overwrite}
	report, err := h.move(ctx, "importing", source, &im.Progress, im.Run)
	if werr := writeReport(h.Out, "imported", &report); werr != nil {
		return h.Failed(errors.Join(err, werr))
	}
	switch {
	case err != nil:
		return h.Failed(fmt.Errorf("the import is not complete, and goes on when it is started again: %w", err))
	case !report.Complete():
		return h.Failed(errors.New("not everything was imported; the report says what"))
	}
	return nil
}

// source opens what --from says; done closes it and wipes its values.
func (h Host) source(ctx context.Context, f importFlags) (s migrate.Source, done func(), err error) {
	if f.from == "supabase" {
		if s, done, err = h.Supabase(ctx, f.sourceSchema); err != nil {
			return nil, nil, fmt.Errorf("the source: %w", err)
		}
		return s, done, nil
	}
	if f.file == "" {
		client, err := f.foreign.open(h)
		if err != nil {
			return nil, nil, fmt.Errorf("the source: %w", err)
		}
		return &migrate.KV{Client: client, Prefix: f.prefix}, client.Close, nil
	}
	return f.fileSource()
}
