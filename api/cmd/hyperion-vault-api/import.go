package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
	"github.com/hyperiondb/hyperion-vault/api/migrate/supabase"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// importFlags are what "import" is told.
type importFlags struct {
	apiFlags
	from, name, file string
	below            string
	overwrite        bool
	sourceTokenFile  string
	sourceMount      string
	prefix, identity string
	sourceSchema     string
}

func newImportCommand(p program) *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use: "import --from KIND [FILE]", Short: "Bring secrets from Vault, OpenBao or a file into this vault", Args: cobra.MaximumNArgs(1),
		Long: "Bring secrets into this vault, through the API of --address. KIND is vault or openbao (a KV engine of version 2, with all\n" +
			"versions that can be read and the custom metadata), supabase (the extension supabase_vault in a database), json (what \"export\" writes, or an object of names and objects) or dotenv\n" +
			"(one secret of KEY=value lines). A file that is sealed with age needs --identity. The source of vault and openbao is what\n" +
			"VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT and VAULT_NAMESPACE say. That of supabase is what PGHOST, PGDATABASE and psql's other\n" +
			"variables say.\n" +
			"What is there already is left alone, so a run that was interrupted can be started again. Each secret has a line on standard\n" +
			"error, and the report goes to standard output. Exit code 0: everything is there. 1: something is not, and the report says what.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args); err != nil {
				return err
			}
			return p.importFrom(cmd.Context(), f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.from, "from", "", "vault, openbao, supabase, json or dotenv")
	f.register(flags, "import into")
	flags.StringVar(&f.below, "below", "", "what the names get before them, and a slash")
	flags.BoolVar(&f.overwrite, "overwrite", false, "write newer versions, and settings, where a secret differs")
	flags.StringVar(&f.name, "name", "", "name of the secret that a dotenv file becomes")
	flags.StringVar(&f.sourceTokenFile, "source-token-file", "", "file of mode 0600 with the source's token, in place of VAULT_TOKEN")
	flags.StringVar(&f.sourceMount, "source-mount", "secret", "mount of the source's KV engine")
	flags.StringVar(&f.sourceSchema, "source-schema", "", "schema of supabase_vault, as in supabase_vault")
	flags.StringVar(&f.identity, "identity", "", "identity file of age, as age-keygen writes it, for a FILE that is sealed")
	flags.StringVar(&f.prefix, "prefix", "", "names of the source to import: those that begin with it and a slash; none = all")
	return c
}

// check finds what is wrong with the call itself.
func (f *importFlags) check(args []string) error {
	isFile := f.from == "json" || f.from == "dotenv"
	switch {
	case !isFile && f.from != "vault" && f.from != "openbao" && f.from != "supabase":
		return errors.New("--from wants vault, openbao, supabase, json or dotenv")
	case isFile != (len(args) == 1):
		return errors.New("json and dotenv need a FILE, and the others take none")
	case f.prefix != "" && f.from != "vault" && f.from != "openbao":
		return errors.New("--prefix is for vault and openbao")
	case (f.from == "supabase") != (f.sourceSchema != ""):
		return errors.New("--source-schema is needed for supabase, and is for nothing else")
	case (f.from == "dotenv") != (f.name != ""):
		return errors.New("--name is needed for dotenv, and is for nothing else")
	case f.identity != "" && !isFile:
		return errors.New("--identity is for a FILE")
	case f.address == "" || f.tokenFile == "":
		return errors.New("import needs --address and --token-file")
	}
	if isFile {
		f.file = args[0]
	}
	if f.below != "" {
		f.below = strings.TrimSuffix(f.below, "/") + "/"
	}
	return nil
}

func (p program) importFrom(ctx context.Context, f importFlags) error {
	target, err := f.open("import into")
	if err != nil {
		return failed(err)
	}
	defer target.Close()
	source, done, err := p.source(ctx, f)
	if err != nil {
		return failed(err)
	}
	defer done()
	im := migrate.Importer{Source: source, Target: target, Below: f.below, Overwrite: f.overwrite}
	report, err := p.move(ctx, "importing", source, &im.Progress, im.Run)
	if werr := p.printReport(&report); werr != nil {
		return failed(errors.Join(err, werr))
	}
	switch {
	case err != nil:
		return failed(fmt.Errorf("the import is not complete, and goes on when it is started again: %w", err))
	case !report.Complete():
		return failed(errors.New("not everything was imported; the report says what"))
	}
	return nil
}

// source opens what --from says; done closes it and wipes its values.
func (p program) source(ctx context.Context, f importFlags) (s migrate.Source, done func(), err error) {
	if f.from == "supabase" {
		s, err := supabase.Open(ctx, f.sourceSchema)
		if err != nil {
			return nil, nil, fmt.Errorf("the source: %w", err)
		}
		return s, s.Close, nil
	}
	if f.file == "" {
		client, err := p.sourceClient(f)
		if err != nil {
			return nil, nil, fmt.Errorf("the source: %w", err)
		}
		return &migrate.KV{Client: client, Prefix: f.prefix}, client.Close, nil
	}
	return f.fileSource()
}

// fileSource opens a file of values, which may be sealed.
func (f *importFlags) fileSource() (s migrate.Source, done func(), err error) {
	file, err := os.Open(f.file)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	var identity []byte
	if f.identity != "" {
		identity, err = readPrivate(f.identity)
		defer func() { envelope.Wipe(identity) }()
		if err != nil {
			return nil, nil, err
		}
	}
	in, err := migrate.Opened(file, identity)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.file, err)
	}
	var wipe func()
	if f.from == "json" {
		s, wipe, err = migrate.ReadJSON(in, info.Size())
	} else {
		s, wipe, err = f.dotenv(in, info.Size())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", f.file, err)
	}
	return s, func() { wipe(); _ = file.Close() }, nil
}

func (f *importFlags) dotenv(in io.Reader, size int64) (migrate.Source, func(), error) {
	text, err := migrate.ReadFile(in, size)
	defer func() { envelope.Wipe(text) }()
	if err != nil {
		return nil, nil, err
	}
	object, err := migrate.Dotenv(text)
	if err != nil {
		return nil, nil, err
	}
	return migrate.One(f.name, object), func() { envelope.Wipe(object) }, nil
}

// sourceClient finds the source as its own clients do.
func (p program) sourceClient(f importFlags) (*migrate.Client, error) {
	return p.foreign(f.sourceMount, f.sourceTokenFile, "--source-token-file")
}

// foreign finds another product's server as its own clients do.
func (p program) foreign(mount, tokenFile, flag string) (*migrate.Client, error) {
	token, err := p.variable("VAULT_TOKEN"), error(nil)
	if tokenFile != "" {
		token, err = readToken(tokenFile)
	}
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, fmt.Errorf("it needs VAULT_TOKEN or %s", flag)
	}
	roots, err := readRoots(p.variable("VAULT_CACERT"))
	if err != nil {
		return nil, err
	}
	return migrate.NewClient(migrate.ClientConfig{
		Address: p.variable("VAULT_ADDR"), Mount: mount, Token: token, Namespace: p.variable("VAULT_NAMESPACE"), Roots: roots,
	})
}

// variable returns the value of an environment variable, "" if it is not set.
func (p program) variable(name string) string {
	all := p.environ()
	i := slices.IndexFunc(all, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	if i < 0 {
		return ""
	}
	return all[i][len(name)+1:]
}

func readRoots(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	return os.ReadFile(name)
}

// readToken reads a token from a private file.
func readToken(name string) (string, error) {
	text, err := readPrivate(name)
	defer func() { envelope.Wipe(text) }()
	return string(bytes.TrimSpace(text)), err
}

// readPrivate reads a small file that only its owner may use. The caller wipes the text.
func readPrivate(name string) ([]byte, error) {
	const longest = 16 << 10
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold up the start
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > longest:
		return nil, fmt.Errorf("%s: a token or a key is in a regular file of at most %d bytes", name, longest)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s: others may use it: its mode is %04o, want 0600 or stricter", name, info.Mode().Perm())
	}
	text, err := migrate.ReadFile(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

func (p program) printReport(r *migrate.Report) error {
	return writeReport(p.out, "imported", r)
}

// writeReport writes the report of a run that has imported or exported.
func writeReport(to io.Writer, done string, r *migrate.Report) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %d (versions: %d)\nthere already: %d\ndifferent: %d\nnot %s: %d\n",
		done, r.Written, r.Versions, r.Same, len(r.Differ), done, len(r.Refused))
	for _, part := range []struct {
		what  string
		notes []migrate.Note
	}{{"different", r.Differ}, {"not " + done, r.Refused}, {"lost", r.Losses}} {
		for _, n := range part.notes {
			fmt.Fprintf(&out, "%s: %s: %s\n", part.what, n.Name, n.Text)
		}
	}
	_, err := fmt.Fprint(to, out.String())
	return err
}
