package migrate

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Dotenv turns a file of lines KEY=value into one JSON object, which the caller wipes. A value may stand in single quotes,
// where everything is as it is, or in double quotes, where \n, \r, \t, \", \\, \$ and \` are escapes; in quotes it may have
// several lines. Nothing is expanded. Errors have the number of the line, and nothing of its text.
func Dotenv(text []byte) ([]byte, error) {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("the file is not text in UTF-8")
	}
	// A byte needs six at most in JSON, and the frame of a variable is shorter than that: nothing is outgrown.
	d := dotenv{text: bytes.TrimPrefix(text, []byte("\ufeff")), line: 1, seen: map[string]bool{}}
	d.out = append(make([]byte, 0, 6*len(text)+16), '{')
	d.scratch = make([]byte, 0, len(text))
	defer func() { envelope.Wipe(d.scratch[:cap(d.scratch)]) }()
	for d.at < len(d.text) {
		if err := d.statement(); err != nil {
			envelope.Wipe(d.out)
			return nil, err
		}
	}
	return append(d.out, '}'), nil
}

type dotenv struct {
	text         []byte
	at, line     int
	seen         map[string]bool
	out, scratch []byte
}

func (d *dotenv) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", d.line, fmt.Sprintf(format, args...))
}

func (d *dotenv) peek() byte {
	if d.at < len(d.text) {
		return d.text[d.at]
	}
	return '\n'
}

func (d *dotenv) blanks() {
	for b := d.peek(); b == ' ' || b == '\t' || b == '\r'; b = d.peek() {
		d.at++
	}
}

// statement reads a variable, a comment or an empty line, to the end of its line.
func (d *dotenv) statement() error {
	d.blanks()
	if b := d.peek(); b != '\n' && b != '#' {
		if err := d.variable(); err != nil {
			return err
		}
		d.blanks()
		if b := d.peek(); b != '\n' && b != '#' {
			return d.errorf("something follows the closing quote")
		}
	}
	if end := bytes.IndexByte(d.text[min(d.at, len(d.text)):], '\n'); end >= 0 {
		d.at += end + 1
		d.line++
		return nil
	}
	d.at = len(d.text)
	return nil
}

func (d *dotenv) variable() error {
	key := d.key()
	if key == "export" && (d.peek() == ' ' || d.peek() == '\t') {
		d.blanks()
		key = d.key()
	}
	d.blanks()
	if key == "" || d.peek() != '=' {
		return d.errorf("it is no KEY=value, with a key of letters, digits, dots, dashes and underscores")
	}
	if d.seen[key] {
		return d.errorf("its key was there before")
	}
	d.seen[key] = true
	d.at++
	d.blanks()
	value, err := d.value()
	if err != nil {
		return err
	}
	if len(d.seen) > 1 {
		d.out = append(d.out, ',')
	}
	d.out = append(jsonscan.AppendQuoted(d.out, key), ':')
	d.out = jsonscan.AppendQuoted(d.out, value)
	return nil
}

func (d *dotenv) key() string {
	start := d.at
	for d.at < len(d.text) && isKeyByte(d.text[d.at]) {
		d.at++
	}
	return string(d.text[start:d.at])
}

func isKeyByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '.' || b == '-'
}

// value returns a part of the text, or of the scratch.
func (d *dotenv) value() ([]byte, error) {
	switch d.peek() {
	case '\'':
		d.at++
		end := bytes.IndexByte(d.text[d.at:], '\'')
		if end < 0 {
			return nil, d.errorf("a single quote is not closed")
		}
		v := d.text[d.at : d.at+end]
		d.at += end + 1
		d.line += bytes.Count(v, []byte("\n"))
		return v, nil
	case '"':
		d.at++
		return d.quoted()
	}
	return d.bare(), nil
}

// bare is up to the end of the line, or to a comment after a blank.
func (d *dotenv) bare() []byte {
	start := d.at
	for d.at < len(d.text) && d.text[d.at] != '\n' {
		if d.text[d.at] == '#' && (d.at == start || d.text[d.at-1] == ' ' || d.text[d.at-1] == '\t') {
			break
		}
		d.at++
	}
	return bytes.TrimRight(d.text[start:d.at], " \t\r")
}

var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '"': '"', '\\': '\\', '$': '$', '`': '`'}

func (d *dotenv) quoted() ([]byte, error) {
	d.scratch = d.scratch[:0]
	first := d.line
	for ; d.at < len(d.text); d.at++ {
		b := d.text[d.at]
		switch b {
		case '"':
			d.at++
			return d.scratch, nil
		case '\n':
			d.line++
		case '\\':
			d.at++
			known, ok := escapes[d.peek()]
			if !ok {
				return nil, d.errorf("a backslash is followed by none of n, r, t, \", \\, $ and `")
			}
			b = known
		}
		d.scratch = append(d.scratch, b)
	}
	d.line = first
	return nil, d.errorf("a double quote is not closed")
}
