package config

import (
	"fmt"
	"io"
	"strings"
)

// description is what a reader learns about one setting. The command "help settings" and docs/reference/settings.md
// are both made from it.
type description struct {
	group string // the heading that the setting stands under
	def   string // the default, as it would be written in the environment; empty = none
	note  string // said in place of a default that is not one constant value
	about string // full sentences
	page  string // the page of docs/ that says more, with its anchor; empty = none
}

// WriteHelp prints every setting as plain text, for the command "help settings".
func WriteHelp(w io.Writer) error {
	var b strings.Builder
	b.WriteString("Settings of hyperion-vault-api, read from the environment. All mistakes are reported at once.\n" +
		"A setting marked \"file\" can come from the file that NAME_FILE names; SIGHUP reloads those marked \"reload\".\n")
	group := ""
	for s, d := range grouped {
		if d.group != group {
			group = d.group
			fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(group))
		}
		fmt.Fprintf(&b, "\n  %s%s\n", s.name, s.traits(d))
		b.WriteString(indent(wrap(d.about, 94), "      "))
		fmt.Fprintf(&b, "      Value: %s.\n", strings.TrimPrefix(s.want, "want "))
		if d.page != "" {
			fmt.Fprintf(&b, "      See docs/%s.\n", d.page)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown returns the reference of all settings, as docs/reference/settings.md has it.
func Markdown() string {
	var b strings.Builder
	group := ""
	for s, d := range grouped {
		if d.group != group {
			group = d.group
			fmt.Fprintf(&b, "\n### %s\n\n", group)
		}
		text := fmt.Sprintf("**`%s`**%s. %s Value: %s.", s.name, s.traits(d), d.about, strings.TrimPrefix(s.want, "want "))
		if d.page != "" {
			page, _, _ := strings.Cut(d.page, ".md")
			text += fmt.Sprintf(" See [%s](../%s).", page, d.page)
		}
		b.WriteString("- " + strings.TrimPrefix(indent(wrap(text, 96), "  "), "  "))
	}
	return b.String()
}

// grouped yields the settings with their descriptions, group by group.
func grouped(yield func(setting, description) bool) {
	for _, group := range groups {
		for _, s := range settings {
			if d := descriptions[s.name]; d.group == group && !yield(s, d) {
				return
			}
		}
	}
}

// traits says in brackets what the default is, and where else the value may come from.
func (s setting) traits(d description) string {
	var out []string
	switch {
	case d.note != "":
		out = append(out, "default: "+d.note)
	case d.def != "":
		out = append(out, "default "+d.def)
	}
	if s.secret {
		out = append(out, "secret")
	}
	if s.fromFile() {
		out = append(out, "file")
	}
	if s.reload {
		out = append(out, "reload")
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}

// wrap breaks text into lines of at most width bytes, where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func indent(lines []string, by string) string {
	return by + strings.Join(lines, "\n"+by) + "\n"
}
