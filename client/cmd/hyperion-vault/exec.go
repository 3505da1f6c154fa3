package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/client"
)

type execOptions struct {
	env, files        []string
	prefix, envFile   string
	watch, mask, keep bool
	signal, killAfter string
}

func (p *program) execCommand() *cobra.Command {
	var o execOptions
	c := &cobra.Command{
		Use: "exec [flags] -- COMMAND [ARG...]", Short: "Run a program with secrets", Args: cobra.MinimumNArgs(1),
		Long: `exec reads secrets and runs a program with them. If one of them cannot be read, the program is not started.

  -e NAME=path           an environment variable; path#field is a field of a value that is a JSON object
  --prefix app/          a variable for each secret below a prefix: app/db/password becomes DB_PASSWORD
                         none that is set already, and none that makes programs load code, such as LD_PRELOAD
  --env-file FILE        lines NAME=TEXT, where vault:path and vault:path#field stand for secrets
  --file NAME=path       a file of mode 0400 on a memory file system; the variable NAME has its path

The program replaces exec, unless --file, --watch or --mask need it to stay. Then it passes signals on, and ends with the
program's exit code, or with 128 and the number of the signal that ended it.

--watch follows changes of these secrets. It starts the program again within a second, or sends it --signal once the files
have the new values; variables of a running program cannot change. A secret that is deleted changes nothing.

--mask replaces values in the program's output by three stars. It finds values of at least 4 bytes, as they are or in base64.

The program does not get VAULT_TOKEN, unless --keep-token is given.`,
		Example: "hyperion-vault exec -e DB_PASSWORD=db/password -- ./server\n" +
			"hyperion-vault exec --prefix app/ --watch -- ./server\n" +
			"hyperion-vault exec --file TLS_KEY=tls/key --watch --signal HUP -- nginx -g 'daemon off;'",
		RunE: func(c *cobra.Command, args []string) error { return p.exec(c.Context(), &o, args) },
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringArrayVarP(&o.env, "env", "e", nil, "variable NAME=path or NAME=path#field; may be repeated")
	f.StringArrayVar(&o.files, "file", nil, "file NAME=path or NAME=path#field; may be repeated")
	f.StringVar(&o.prefix, "prefix", "", "a variable for each secret below a prefix")
	f.StringVar(&o.envFile, "env-file", "", "file of variables with references to secrets")
	f.BoolVar(&o.watch, "watch", false, "follow changes, and start the program again")
	f.StringVar(&o.signal, "signal", "", "with --watch: send this signal instead, as in HUP")
	f.StringVar(&o.killAfter, "kill-after", "10s", "with --watch: how long the program may take to stop")
	f.BoolVar(&o.mask, "mask", false, "mask secrets in the program's output")
	f.BoolVar(&o.keep, "keep-token", false, "pass VAULT_TOKEN on")
	return c
}

// source is where a variable or a file gets its text from.
type source struct {
	variable string
	path     string // of the secret; "" = text
	field    string
	text     string
	file     bool
}

// parseReference splits path#field.
func parseReference(s string) (path, field string) {
	path, field, _ = strings.Cut(s, "#")
	return path, field
}

func parseSource(flag, s string, file bool) (source, error) {
	name, reference, ok := strings.Cut(s, "=")
	if !ok || !variableName(name) || reference == "" {
		return source{}, usagef("%s is like NAME=path", flag)
	}
	path, field := parseReference(reference)
	return source{variable: name, path: path, field: field, file: file}, nil
}

func variableName(s string) bool {
	return s != "" && (s[0] < '0' || s[0] > '9') && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// sources returns what the flags name. Secrets below a prefix are listed now.
func (p *program) sources(ctx context.Context, cl *client.Client, o *execOptions) (all []source, err error) {
	if o.envFile != "" {
		if all, err = readEnvFile(o.envFile); err != nil {
			return nil, err
		}
	}
	if o.prefix != "" {
		below, err := p.sourcesBelow(ctx, cl, strings.TrimSuffix(o.prefix, "/")+"/")
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	for i, s := range slices.Concat(o.env, o.files) {
		flag := "-e"
		if i >= len(o.env) {
			flag = "--file"
		}
		one, err := parseSource(flag, s, i >= len(o.env))
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.variable] {
			return nil, usagef("the variable %s is set twice", s.variable)
		}
		seen[s.variable] = true
	}
	if len(all) == 0 {
		return nil, usagef("no secret is named; use -e, --prefix, --env-file or --file")
	}
	return all, nil
}

// sourcesBelow returns the secrets below a prefix, each as the variable that its name makes.
func (p *program) sourcesBelow(ctx context.Context, cl *client.Client, prefix string) (all []source, err error) {
	for s, err := range cl.List(ctx, client.ListOptions{Prefix: prefix}) {
		if err != nil {
			return nil, err
		}
		variable := variableOf(strings.TrimPrefix(s.Name, prefix))
		if p.variable(variable) != "" || loaderVariable(variable) {
			return nil, failuref("%s would set the variable %s, which changes how programs run; name it by -e if you want that", s.Name, variable)
		}
		all = append(all, source{variable: variable, path: s.Name})
	}
	return all, nil
}

// loaderVariable reports whether a variable makes programs load code. Who may create a secret below a prefix must not
// thereby run code in the programs that use it.
func loaderVariable(name string) bool {
	for _, start := range []string{"LD_", "GLIBC_", "GCONV_", "PYTHON", "PERL", "RUBY", "NODE_", "JAVA_", "JDK_", "BASH_", "GIT_", "DYLD_"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return slices.Contains([]string{"PATH", "ENV", "IFS", "SHELLOPTS", "PS4", "HOME"}, name)
}

// variableOf makes a variable's name of a secret's: db/api-key becomes DB_API_KEY.
func variableOf(name string) string {
	v := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
	if v[0] >= '0' && v[0] <= '9' {
		v = "_" + v
	}
	return v
}

func readEnvFile(path string) (all []source, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError{err}
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok || !variableName(name) {
			return nil, usagef("line %d of %s is not like NAME=TEXT", i+1, path)
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		s := source{variable: name, text: value}
		if reference, ok := strings.CutPrefix(value, "vault:"); ok {
			s.path, s.field = parseReference(reference)
			s.text = ""
		}
		all = append(all, s)
	}
	return all, nil
}

// readSources returns the text of each source, in their order. The caller wipes them.
func readSources(ctx context.Context, cl *client.Client, all []source) ([][]byte, error) {
	var names []string
	for _, s := range all {
		if s.path != "" && !slices.Contains(names, s.path) {
			names = append(names, s.path)
		}
	}
	values := map[string]*client.Value{}
	defer func() {
		for _, v := range values {
			v.Wipe()
		}
	}()
	for part := range slices.Chunk(names, client.MaxBatch) {
		if err := readValues(ctx, cl, part, values); err != nil {
			return nil, err
		}
	}
	texts := make([][]byte, len(all))
	for i, s := range all {
		var err error
		switch {
		case s.path == "":
			texts[i] = []byte(s.text)
		case s.field != "":
			texts[i], err = client.JSONField(values[s.path].Bytes, s.field)
		default:
			texts[i] = bytes.Clone(values[s.path].Bytes)
		}
		if err != nil {
			return nil, failuref("%s: %w", s.path, err)
		}
		if !s.file && bytes.IndexByte(texts[i], 0) >= 0 {
			return nil, failuref("the value of %s has a zero byte, which no variable can have; use --file", s.variable)
		}
	}
	return texts, nil
}

// readValues adds the values of names, which are one batch. The caller wipes values, also after an error.
func readValues(ctx context.Context, cl *client.Client, names []string, values map[string]*client.Value) error {
	results, err := cl.GetMany(ctx, names)
	if err != nil {
		return err
	}
	for i, r := range results {
		if client.CodeOf(r.Err) == client.TooLarge {
			r.Value, r.Err = cl.Get(ctx, names[i])
		}
		values[names[i]] = r.Value
		err = errors.Join(err, r.Err)
	}
	return err
}

// childEnviron is the environment of the program.
func (p *program) childEnviron(all []source, texts [][]byte, paths map[string]string, keepToken bool) []string {
	set := map[string]bool{"VAULT_TOKEN": !keepToken}
	for _, s := range all {
		set[s.variable] = true
	}
	var env []string
	for _, e := range p.environ {
		if name, _, _ := strings.Cut(e, "="); !set[name] {
			env = append(env, e)
		}
	}
	for i, s := range all {
		text := string(texts[i])
		if s.file {
			text = paths[s.variable]
		}
		env = append(env, s.variable+"="+text)
	}
	return env
}

func (p *program) exec(ctx context.Context, o *execOptions, args []string) error {
	if o.signal != "" && (!o.watch || len(o.files) == 0) {
		return usagef("--signal needs --watch and --file: variables of a running program cannot change")
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		_, _ = p.errOut.Write([]byte("error: " + oneLine(err.Error()) + "\n"))
		if errors.Is(err, os.ErrPermission) {
			return exitError(126)
		}
		return exitError(127)
	}
	cl, err := p.connect()
	if err != nil {
		return err
	}
	all, err := p.sources(ctx, cl, o)
	if err != nil {
		return err
	}
	if len(o.files) > 0 || o.watch || o.mask {
		return p.supervise(ctx, cl, o, all, program, args)
	}
	texts, err := readSources(ctx, cl, all)
	if err != nil {
		return err
	}
	err = unix.Exec(program, args, p.childEnviron(all, texts, nil, o.keep))
	return failuref("%s cannot be run: %w", args[0], err)
}
