package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// An export in JSON is lines of JSON. The first line says what it is, each further one is a secret with its settings and
// versions, and the last one counts them. So a file that was cut off is known by its end, and none has to fit in memory.
const (
	linesIntro  = `{"hyperion_vault_export":`
	linesFormat = 1
)

// lineOf is what a line has beside the versions.
type lineOf struct {
	Name        string `json:"name"`
	ContentType string `json:"content_type,omitempty"`
	Description string `json:"description,omitempty"`
	settings
	Rotation *rotation `json:"rotation,omitempty"`
}

// LineWriter is a Sink that writes lines of JSON.
type LineWriter struct {
	w       io.Writer
	secrets int
}

// NewLineWriter writes the first line. now is the time that it has.
func NewLineWriter(w io.Writer, now time.Time) (*LineWriter, error) {
	_, err := fmt.Fprintf(w, "%s%d,\"created_time\":%q}\n", linesIntro, linesFormat, now.UTC().Format(time.RFC3339))
	return &LineWriter{w: w}, err
}

// Put implements Sink.
func (l *LineWriter) Put(name string, s *Secret) error {
	of := lineOf{name, s.contentType, s.description, s.settings, nil}
	if s.rotation.any() {
		of.Rotation = &s.rotation
	}
	head, err := json.Marshal(of)
	if err != nil {
		return errForm
	}
	const frame = 128 // of a version: its number and time
	size := len(head) + frame
	for i, v := range s.values {
		size += len(v) + len(s.marks[i].created) + frame
	}
	line := append(make([]byte, 0, size), head[:len(head)-1]...)
	defer func() { envelope.Wipe(line) }()
	line = append(line, `,"versions":[`...)
	for i, v := range s.values {
		if i > 0 {
			line = append(line, ',')
		}
		line = strconv.AppendUint(append(line, `{"version":`...), s.marks[i].number, 10)
		line = jsonscan.AppendQuoted(append(line, `,"created_time":`...), s.marks[i].created)
		if s.isText(i) {
			line = append(line, `,"is_text":true`...)
		}
		line = append(append(append(line, `,"data":`...), v...), '}')
	}
	for i, b := range line { // between members a value may have ends of lines, and in texts it has none
		if b == '\n' || b == '\r' {
			line[i] = ' '
		}
	}
	line = append(line, "]}\n"...)
	l.secrets++
	_, err = l.w.Write(line)
	return err
}

// Close implements Sink.
func (l *LineWriter) Close() error {
	_, err := fmt.Fprintf(l.w, "{\"end\":true,\"secrets\":%d}\n", l.secrets)
	return err
}

// Lines is an export of lines of JSON as a source.
type Lines struct {
	in  *lineReader
	now *Secret // of the line that was read last
}

// ReadJSON opens a file with an export, or with one JSON object whose members are secrets. done wipes what was read.
func ReadJSON(r io.Reader, size int64) (s Source, done func(), err error) {
	start := make([]byte, len(linesIntro))
	n, err := io.ReadFull(r, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	whole := io.MultiReader(bytes.NewReader(start[:n]), r)
	if string(start[:n]) == linesIntro {
		in := newLineReader(whole)
		return &Lines{in: in}, in.wipe, nil
	}
	text, err := ReadFile(whole, size)
	envelope.Wipe(start)
	if err != nil {
		return nil, nil, err
	}
	file, err := JSON(text)
	if err != nil {
		envelope.Wipe(text)
		return nil, nil, err
	}
	return file, func() { envelope.Wipe(text) }, nil
}

// Names implements Source.
func (l *Lines) Names(_ context.Context, f func(string) error, skip func(name, why string)) error {
	if err := l.intro(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		line, err := l.next()
		if err != nil {
			return err
		}
		fields, err := jsonscan.Object(line, nil)
		if err != nil {
			return badLine(n)
		}
		if fields["end"] != nil {
			return l.end(fields["secrets"], n)
		}
		name, err := l.take(fields)
		if err != nil {
			return badLine(n)
		}
		if _, err := core.ParseName(name); err != nil {
			l.now.Wipe()
			skip(name, core.MessageOf(err))
			continue
		}
		if err := f(name); err != nil {
			return err
		}
	}
}

// badLine quotes nothing: anything in the line can be a value.
func badLine(secrets int) error {
	return fmt.Errorf("line %d of the export is not as this program writes it", secrets+2)
}

func (l *Lines) next() ([]byte, error) {
	line, err := l.in.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the export is not complete: it ends before its last line")
	}
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read to its end: %w", err)
	}
	return line, nil
}

func (l *Lines) intro() error {
	line, err := l.next()
	if err != nil {
		return err
	}
	fields, err := jsonscan.Object(line, nil)
	if err != nil || string(fields["hyperion_vault_export"]) != strconv.Itoa(linesFormat) {
		return errors.New("the export has a form that this version of the program does not read")
	}
	return nil
}

func (l *Lines) end(count []byte, seen int) error {
	if string(count) != strconv.Itoa(seen) {
		return fmt.Errorf("the export is not complete: it has %d secrets, and its last line counts others", seen)
	}
	if _, err := l.in.next(); !errors.Is(err, io.EOF) {
		return errors.New("the export goes on after its last line")
	}
	return nil
}

// take makes a secret of a line. No error says more than that it is one.
func (l *Lines) take(fields map[string][]byte) (string, error) {
	versions := fields["versions"]
	if len(versions) == 0 || versions[0] != '[' {
		return "", errForm
	}
	var head lineOf
	for name, to := range map[string]any{
		"name": &head.Name, "content_type": &head.ContentType, "description": &head.Description, "max_versions": &head.MaxVersions,
		"cas_required": &head.CASRequired, "delete_version_after": &head.DeleteVersionAfter, "custom_metadata": &head.CustomMetadata,
		"rotation": &head.Rotation,
	} {
		if raw := fields[name]; raw != nil && json.Unmarshal(raw, to) != nil {
			return "", errForm
		}
	}
	s := &Secret{settings: head.settings, contentType: head.ContentType, description: head.Description}
	if head.Rotation != nil {
		s.rotation = *head.Rotation
	}
	err := jsonscan.Elements(versions, func(e []byte) error {
		if e[0] != '{' {
			return errForm
		}
		version, err := jsonscan.Object(e, nil)
		if err != nil || len(version["data"]) == 0 || version["data"][0] != '{' {
			return errForm
		}
		s.values = append(s.values, bytes.Clone(version["data"]))
		s.marks = append(s.marks, mark{isText: string(version["is_text"]) == "true"})
		return nil
	})
	if err != nil {
		s.Wipe()
		return "", errForm
	}
	l.now = s
	return head.Name, nil
}

// Fetch implements Source. It returns the secret that Names has called for, once.
func (l *Lines) Fetch(context.Context, string) (*Secret, error) {
	s := l.now
	l.now = nil
	return s, nil
}
