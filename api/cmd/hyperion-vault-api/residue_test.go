package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
)

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

// TestRecoverWipesTheValue, whether it could be printed or not.
func TestRecoverWipesTheValue(t *testing.T) {
	for _, out := range []io.Writer{io.Discard, failingWriter{}} {
		v := residue.New(t, 64)
		if err := (program{out: out}).writeValue(vault.Value{Plain: v.Bytes()}, nil); (err != nil) != (out != io.Discard) {
			t.Error(err)
		}
		v.Want(0, "printed")
	}
	v := residue.New(t, 64)
	if err := (program{out: io.Discard}).writeValue(vault.Value{Plain: v.Bytes()}, io.EOF); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	v.Want(0, "beside an error")
}

// TestRecoverWipesTheIdentity: the text of the file is wiped before the command ends, also when it can do nothing.
func TestRecoverWipesTheIdentity(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "recovery.key")
	text := []byte(id.String())
	v := residue.Of(t, text[len("AGE-SECRET-KEY-"):])
	if err := os.WriteFile(file, append([]byte("# a comment\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	before := v.Count()
	if _, err := age.ParseIdentities(bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	parsing := v.Count() - before // the library's own copies are strings
	env := lonely(t)
	var out, errOut bytes.Buffer
	p := program{environ: func() []string { return env }, out: &out, errOut: &errOut}
	if err := p.recover(t.Context(), "a", 0, file); err == nil {
		t.Error("a secret was recovered without a database")
	}
	if left := v.Count() - before - parsing; left > parsing {
		t.Errorf("the command leaves %d copies of the identity, and parsing it alone leaves %d", left, parsing)
	}
}
