package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// column of a table. Only the last may be of any width.
type column struct {
	title string
	width int
}

// rows prints a table row by row, as they come: aligned, with a head, on a terminal and with -o table, else with tabs.
type rows struct {
	p       *program
	columns []column
	aligned bool
	headed  bool
}

func (p *program) rows(columns ...column) *rows {
	return &rows{p: p, columns: columns, aligned: p.flags.output == "table" || p.flags.output == "" && isTerminal(p.out)}
}

func (r *rows) add(cells ...string) {
	if !r.aligned {
		r.print(strings.Join(cells, "\t"))
		return
	}
	if !r.headed {
		r.headed = true
		titles := make([]string, len(r.columns))
		for i, c := range r.columns {
			titles[i] = c.title
		}
		r.print(r.p.paint("1", r.line(titles)))
	}
	r.print(r.line(cells))
}

func (r *rows) line(cells []string) string {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(r.columns[i].width-utf8.RuneCountInString(cell), 0)+2))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

func (r *rows) print(line string) { _, _ = io.WriteString(r.p.out, line+"\n") }

// paint colours a text on a terminal.
func (p *program) paint(code, text string) string {
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// when prints a time as short as it stays clear.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// one prints an answer: a field of it, JSON, YAML, or what table does.
func (p *program) one(answer any, table func()) error {
	if p.flags.field == "" && (p.flags.output == "" || p.flags.output == "table") {
		table()
		return nil
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return failure{err}
	}
	if p.flags.field != "" {
		return p.printField(text)
	}
	return p.printText(text)
}

// printText prints a JSON text as -o says.
func (p *program) printText(text []byte) error {
	var out bytes.Buffer
	if p.flags.output == "yaml" {
		writeYAML(&out, text, 0)
	} else if err := json.Indent(&out, text, "", "  "); err != nil {
		return failure{err}
	}
	if !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n')
	}
	_, err := p.out.Write(out.Bytes())
	clear(out.Bytes())
	return failed(err)
}

func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}

// printField prints one field of an object: a text as it is, anything else as JSON.
func (p *program) printField(object []byte) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return usagef("the answer has no fields")
	}
	raw, ok := fields[p.flags.field]
	if !ok {
		return usagef("the answer has no field %q; -o json shows what it has", p.flags.field)
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	_, err := fmt.Fprintln(p.out, text)
	return failed(err)
}

// printLine prints an item of a stream: a field of it, a line of JSON, or a document of YAML.
func (p *program) printLine(item any) error {
	text, err := json.Marshal(item)
	switch {
	case err != nil:
		return failure{err}
	case p.flags.field != "":
		return p.printField(text)
	case p.flags.output == "yaml":
		_, _ = io.WriteString(p.out, "---\n")
		return p.printText(text)
	}
	_, err = p.out.Write(append(text, '\n'))
	return failed(err)
}

// list prints items as they come, in the form of -o: an array in JSON or YAML, and else what row does.
type list struct {
	p     *program
	count int
}

func (l *list) add(item any, row func()) error {
	p := l.p
	switch {
	case p.flags.field != "":
		text, err := json.Marshal(item)
		if err != nil {
			return failure{err}
		}
		return p.printField(text)
	case p.flags.output == "json" || p.flags.output == "yaml":
		return l.addText(item)
	}
	row()
	return nil
}

func (l *list) addText(item any) error {
	text, err := json.Marshal(item)
	if err != nil {
		return failure{err}
	}
	var out bytes.Buffer
	if l.p.flags.output == "yaml" {
		out.WriteString("- ")
		writeYAML(&out, text, 2)
	} else {
		out.WriteString(map[bool]string{true: "[\n  ", false: ",\n  "}[l.count == 0])
		if err := json.Indent(&out, text, "  ", "  "); err != nil {
			return failure{err}
		}
	}
	l.count++
	_, err = l.p.out.Write(out.Bytes())
	return failed(err)
}

func (l *list) end() error {
	text := ""
	switch {
	case l.p.flags.field != "":
	case l.p.flags.output == "json" && l.count == 0:
		text = "[]\n"
	case l.p.flags.output == "json":
		text = "\n]\n"
	case l.p.flags.output == "yaml" && l.count == 0:
		text = "[]\n"
	}
	_, err := io.WriteString(l.p.out, text)
	return failed(err)
}

// writeYAML writes a JSON text as YAML in block style. Strings stay in the quotes of JSON, which are YAML's as well, so
// that none reads as a number or a boolean.
func writeYAML(out *bytes.Buffer, text []byte, indent int) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	writeYAMLValue(out, d, indent)
}

func writeYAMLValue(out *bytes.Buffer, d *json.Decoder, indent int) {
	token, err := d.Token()
	if err != nil {
		return
	}
	open, isDelim := token.(json.Delim)
	if !isDelim {
		scalar, _ := json.Marshal(token)
		out.Write(scalar)
		out.WriteByte('\n')
		return
	}
	if !d.More() {
		_, _ = d.Token()
		out.WriteString(map[json.Delim]string{'{': "{}\n", '[': "[]\n"}[open])
		return
	}
	for first := true; d.More(); first = false {
		if !first {
			out.WriteString(strings.Repeat(" ", indent))
		}
		if open == '[' {
			out.WriteString("- ")
			writeYAMLValue(out, d, indent+2)
			continue
		}
		key, _ := d.Token()
		quoted, _ := json.Marshal(key)
		if name, _ := key.(string); plainKey(name) {
			quoted = []byte(name)
		}
		out.Write(quoted)
		out.WriteByte(':')
		writeYAMLChild(out, d, indent)
	}
	_, _ = d.Token()
}

// writeYAMLChild writes the value of a key: on its line, or below it if it has parts of its own.
func writeYAMLChild(out *bytes.Buffer, d *json.Decoder, indent int) {
	var below bytes.Buffer
	writeYAMLValue(&below, d, indent+2)
	if text := below.String(); strings.Count(text, "\n") > 1 || strings.HasPrefix(text, "- ") || strings.Contains(strings.SplitN(text, "\"", 2)[0], ":") {
		out.WriteString("\n" + strings.Repeat(" ", indent+2) + text)
		return
	}
	out.WriteByte(' ')
	out.Write(below.Bytes())
}

func plainKey(s string) bool {
	switch s {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}
