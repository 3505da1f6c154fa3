package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/CLI.md and docs/man/hyperion-vault.1")

const pages = "../../../docs/"

// TestPages compares docs/CLI.md and the manual page with the commands.
func TestPages(t *testing.T) {
	intro, err := os.ReadFile("intro.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"CLI.md": string(intro) + markdown(), "man/hyperion-vault.1": manual()} {
		if *update {
			if err := os.WriteFile(pages+path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(pages + path)
		if err != nil || string(have) != text {
			t.Errorf("docs/%s is not what the commands say (%v); go test ./client/cmd/hyperion-vault -run TestPages -update writes it", path, err)
		}
	}
}

// commands returns the commands that people call, each before those below it.
func commands() (all []*cobra.Command) {
	p := &program{out: &bytes.Buffer{}, errOut: &bytes.Buffer{}}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, child := range c.Commands() {
			if child.Name() == "help" || child.Name() == "completion" {
				continue
			}
			all = append(all, child)
			walk(child)
		}
	}
	walk(p.root())
	return all
}

func long(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

func usage(c *cobra.Command) string {
	return strings.TrimSuffix(c.CommandPath()+strings.TrimPrefix(c.Use, c.Name()), " [flags]")
}

// notRun is for the test of documented blocks (extension/exttest).
const notRun = "<!-- not run: an example; the scripts in testdata run each command -->"

// markdown is the part of docs/CLI.md that describes each command.
func markdown() string {
	var b strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n\n", strings.TrimPrefix(c.CommandPath(), "hyperion-vault "), usage(c))
		for paragraph := range strings.SplitSeq(long(c), "\n\n") {
			if strings.HasPrefix(paragraph, "  ") {
				fmt.Fprintf(&b, "```\n%s\n```\n\n", paragraph)
				continue
			}
			b.WriteString(wrap(paragraph, 100) + "\n")
		}
		if flags := flagsOf(c); flags != "" {
			b.WriteString("```\n" + flags + "```\n\n")
		}
		if c.Example != "" {
			b.WriteString("For example:\n\n" + notRun + "\n```sh\n" + c.Example + "\n```\n")
		}
	}
	return strings.TrimRight(strings.ReplaceAll(b.String(), "\n\n\n", "\n\n"), "\n") + "\n"
}

func flagsOf(c *cobra.Command) string {
	var b strings.Builder
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			fmt.Fprintf(&b, "%-30s %s\n", flagName(f), f.Usage)
		}
	})
	return b.String()
}

func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if f.Value.Type() != "bool" {
		name += " " + map[string]string{"int": "N", "int64": "N", "int64Slice": "N,N", "stringSlice": "TEXT,TEXT"}[f.Value.Type()]
		if strings.HasSuffix(name, " ") {
			name += "TEXT"
		}
	}
	return name
}

// wrap breaks a paragraph into lines.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if column > 0 && column+1+n > width {
			b.WriteByte('\n')
			column = 0
		}
		if column > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String() + "\n"
}

// manual is the manual page, in mdoc.
func manual() string {
	var b strings.Builder
	b.WriteString(".Dd November 29, 2026\n.Dt HYPERION-VAULT 1\n.Os\n.Sh NAME\n.Nm hyperion-vault\n.Nd read and manage the secrets of a HyperionDB Vault\n.Sh SYNOPSIS\n")
	for _, c := range commands() {
		if !c.HasSubCommands() {
			b.WriteString(".Nm\n.Cm " + escape(strings.TrimPrefix(usage(c), "hyperion-vault ")) + "\n")
		}
	}
	b.WriteString(".Sh DESCRIPTION\n" + paragraphs(rootLong) + ".Sh COMMANDS\n")
	for _, c := range commands() {
		b.WriteString(".Ss " + escape(strings.TrimPrefix(c.CommandPath(), "hyperion-vault ")) + "\n" + paragraphs(long(c)))
		b.WriteString(options(c.LocalNonPersistentFlags()))
	}
	p := &program{}
	b.WriteString(".Sh OPTIONS OF EVERY COMMAND\n" + options(p.root().PersistentFlags()))
	b.WriteString(".Sh ENVIRONMENT\n.Bl -tag -width Ds\n")
	for _, e := range environment {
		b.WriteString(".It Ev " + e[0] + "\n" + escape(e[1]) + "\n")
	}
	b.WriteString(".El\n.Sh FILES\n.Bl -tag -width Ds\n.It Pa ~/.vault-token\nthe token that\n.Cm login\nkeeps, of mode 0600\n.El\n.Sh EXIT STATUS\n.Bl -tag -width Ds\n")
	for _, e := range exitCodes {
		b.WriteString(".It " + e[0] + "\n" + escape(e[1]) + "\n")
	}
	b.WriteString(".El\n.Pp\n.Cm exec\nends with the code of the program that it runs.\n.Sh EXAMPLES\n")
	for _, c := range commands() {
		for line := range strings.SplitSeq(c.Example, "\n") {
			if line != "" {
				b.WriteString(".Dl " + escape(line) + "\n")
			}
		}
	}
	b.WriteString(".Sh SEE ALSO\n.Xr hyperion-vault-api 8\n")
	return b.String()
}

func options(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			b.WriteString(".It " + escape(flagName(f)) + "\n" + escape(f.Usage) + "\n")
		}
	})
	if b.Len() == 0 {
		return ""
	}
	return ".Bl -tag -width Ds\n" + b.String() + ".El\n"
}

func paragraphs(text string) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 && !strings.HasPrefix(paragraph, "  ") {
			b.WriteString(".Pp\n")
		}
		if strings.HasPrefix(paragraph, "  ") {
			b.WriteString(".Bd -literal\n" + escape(paragraph) + "\n.Ed\n")
			continue
		}
		b.WriteString(escape(strings.TrimSpace(wrap(paragraph, 100))) + "\n")
	}
	return b.String()
}

// escape keeps a text from being read as a request of roff.
func escape(text string) string {
	text = strings.ReplaceAll(text, `\`, `\e`)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), "-", `\-`)
}

// TestHelp checks that every command and flag says what it does.
func TestHelp(t *testing.T) {
	all := commands()
	if len(all) < 25 {
		t.Fatalf("%d commands", len(all))
	}
	for _, c := range all {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: %q", c.CommandPath(), c.Short)
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s says nothing", c.CommandPath(), f.Name)
			}
		})
		for line := range strings.SplitSeq(c.Long, "\n") {
			if utf8.RuneCountInString(line) > 125 {
				t.Errorf("%s: a line of its help is too long: %s", c.CommandPath(), line)
			}
		}
	}
}
