package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"filippo.io/age"
)

// collect reads a whole source.
func collect(t *testing.T, s Source) (map[string]*Secret, []string, error) {
	t.Helper()
	all, skipped := map[string]*Secret{}, []string(nil)
	err := s.Names(t.Context(), func(name string) error {
		got, err := s.Fetch(t.Context(), name)
		all[name] = got
		return err
	}, func(name, _ string) { skipped = append(skipped, name) })
	return all, skipped, err
}

func written(t *testing.T, to io.Writer, secrets int) {
	t.Helper()
	w, err := NewLineWriter(to, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for i := range secrets {
		s := &Secret{
			contentType: "application/json", description: "a \"text\"\n", marks: []mark{{number: 3, created: "2026-01-01T00:00:00Z"}, {number: 4, created: "x"}},
			settings: settings{MaxVersions: 7, CASRequired: true, DeleteVersionAfter: "1h0m0s", CustomMetadata: map[string]json.RawMessage{"a": json.RawMessage(`"b"`)}},
			values:   [][]byte{[]byte("{\n\t\"k\": \"MARKER\"\r\n}"), []byte(`{"n":12345678901234567890}`)},
		}
		if err := w.Put(fmt.Sprintf("app/%d", i), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	written(t, &out, 300)
	for name, r := range map[string]io.Reader{"OK": bytes.NewReader(out.Bytes()), "OKByByte": iotest.OneByteReader(bytes.NewReader(out.Bytes()))} {
		t.Run(name, func(t *testing.T) {
			s, done, err := ReadJSON(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			all, skipped, err := collect(t, s)
			if err != nil || len(all) != 300 || len(skipped) != 0 {
				t.Fatalf("%d, %v, %v", len(all), skipped, err)
			}
			got := all["app/299"]
			if got.contentType != "application/json" || got.description != "a \"text\"\n" || got.settings.MaxVersions != 7 || !got.settings.CASRequired ||
				got.settings.DeleteVersionAfter != "1h0m0s" || string(got.settings.CustomMetadata["a"]) != `"b"` || len(got.values) != 2 ||
				!equal(bytes.TrimSpace(got.values[0]), []byte(`{"k":"MARKER"}`)) || string(got.values[1]) != `{"n":12345678901234567890}` {
				t.Errorf("%+v %q", got, got.values)
			}
		})
	}
}

func TestLinesThatAreWrong(t *testing.T) {
	const intro = `{"hyperion_vault_export":1}` + "\n"
	const one = `{"name":"a","versions":[{"version":1,"data":{"k":"MARKER"}}]}` + "\n"
	for name, tt := range map[string]struct{ text, want string }{
		"ErrVersion":     {`{"hyperion_vault_export":2}` + "\n", "has a form that this version"},
		"ErrEmpty":       {intro, "is not complete"},
		"ErrNoEnd":       {intro + one, "is not complete"},
		"ErrCount":       {intro + one + `{"end":true,"secrets":2}`, "it has 1 secrets"},
		"ErrAfterEnd":    {intro + `{"end":true,"secrets":0}` + "\n" + one, "goes on after"},
		"ErrHalf":        {intro + one[:40], "line 2 "},
		"ErrNoVersions":  {intro + `{"name":"MARKER"}`, "line 2 "},
		"ErrNoObject":    {intro + one + `{"name":"a","versions":[{"data":"MARKER"}]}`, "line 3 "},
		"ErrVersionText": {intro + `{"name":"a","versions":["MARKER"]}`, "line 2 "},
		"ErrSettings":    {intro + `{"name":"a","max_versions":"MARKER","versions":[]}`, "line 2 "},
		"ErrTwice":       {intro + `{"name":"a","name":"MARKER","versions":[]}`, "line 2 "},
		"ErrBytes":       {intro + "\xff\n", "line 2 "},
	} {
		t.Run(name, func(t *testing.T) {
			s, done, err := ReadJSON(strings.NewReader(tt.text), 0)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			if _, _, err := collect(t, s); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "MARKER") {
				t.Errorf("%v", err)
			}
		})
	}
	s, done, err := ReadJSON(strings.NewReader(intro+`{"name":"we ird","versions":[]}`+"\n"+`{"end":true,"secrets":1}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if all, skipped, err := collect(t, s); err != nil || len(all) != 0 || len(skipped) != 1 {
		t.Errorf("%v %v %v", all, skipped, err)
	}
}

// FuzzLines: what is accepted has one object for each version, and no line is lost or taken twice.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"", `{"hyperion_vault_export":1}` + "\n" + `{"name":"a","versions":[{"data":{}}]}` + "\n" + `{"end":true,"secrets":1}`,
		`{"hyperion_vault_export":1}` + "\n" + `{"end":true,"secrets":0}` + "\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, done, err := ReadJSON(bytes.NewReader(text), 0)
		if err != nil {
			return
		}
		defer done()
		if _, ok := s.(*Lines); !ok {
			return
		}
		seen := 0
		err = s.Names(t.Context(), func(name string) error {
			seen++
			got, err := s.Fetch(t.Context(), name)
			for _, v := range got.values {
				if !json.Valid(v) || v[0] != '{' {
					t.Fatalf("%q", v)
				}
			}
			return err
		}, func(string, string) { seen++ })
		if lines := bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n")); err == nil && seen != lines-1 {
			t.Fatalf("%d secrets in %d lines", seen, lines)
		}
	})
}

// TestLineReader: lines come whole whatever their length is, and nothing of them stays.
func TestLineReader(t *testing.T) {
	long := strings.Repeat("s", 300<<10)
	for _, text := range []string{"", "\n", "a", "a\n", "a\n\nb", long + "\n" + long + "\nx"} {
		l := newLineReader(iotest.HalfReader(strings.NewReader(text)))
		var got []string
		for {
			line, err := l.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(line))
		}
		if want := strings.Split(strings.TrimSuffix(text, "\n"), "\n"); text != "" && strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%.20q: %d lines, want %d", text, len(got), len(want))
		}
		l.wipe()
		if bytes.ContainsAny(l.buf[:cap(l.buf)], "abs") {
			t.Errorf("%.20q: something stays", text)
		}
	}
}

// TestOpened: a sealed file that is cut off anywhere, or changed anywhere, is never a whole one.
func TestOpened(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := Sealed(&sealed, []string{id.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	written(t, w, 600) // of several chunks
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	read := func(file []byte) (int, error) {
		in, err := Opened(bytes.NewReader(file), []byte(id.String()))
		if err != nil {
			return 0, err
		}
		s, done, err := ReadJSON(in, 0)
		if err != nil {
			return 0, err
		}
		defer done()
		all, _, err := collect(t, s)
		return len(all), err
	}
	whole := sealed.Bytes()
	if n, err := read(whole); n != 600 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	for i := 0; i < len(whole); i += 997 {
		if _, err := read(whole[:i]); err == nil {
			t.Errorf("cut off at %d of %d", i, len(whole))
		}
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if _, err := read(changed); err == nil {
			t.Errorf("changed at %d of %d", i, len(whole))
		}
	}
	if _, err := Sealed(io.Discard, []string{id.Recipient().String(), hybrid.Recipient().String()}); err == nil {
		t.Error("age itself refuses recipients of two kinds; if it no longer does, say so in the documents")
	}
	for _, wrong := range []string{"", id.String(), "age1x", id.Recipient().String() + "\n" + id.Recipient().String(), "ssh-ed25519 AAAA"} {
		if _, err := Sealed(io.Discard, []string{wrong}); err == nil || wrong != "" && strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// FuzzDotenvRoundTrip: what DotenvWriter writes, Dotenv reads as the same object.
func FuzzDotenvRoundTrip(f *testing.F) {
	f.Add("A", "it's")
	f.Add("k-1", "\"$x`'\\\n\r#")
	f.Fuzz(func(t *testing.T, key, value string) {
		object, err := json.Marshal(map[string]string{key: value})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := NewDotenvWriter(&out).Put("", &Secret{values: [][]byte{object}}); err != nil {
			if _, ok := errors.AsType[*unfit](err); !ok {
				t.Fatal(err)
			}
			return
		}
		back, err := Dotenv(out.Bytes())
		if err != nil || !equal(back, object) {
			t.Fatalf("%q: %q, %v", object, out.Bytes(), err)
		}
	})
}
