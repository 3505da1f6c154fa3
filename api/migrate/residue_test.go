package migrate

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
)

// TestValuesAreWiped: the forms of files leave no copy of a value in memory. What age and a connection keep is theirs.
func TestValuesAreWiped(t *testing.T) {
	const intro, end = `{"hyperion_vault_export":1}` + "\n", "\n" + `{"end":true,"secrets":1}` + "\n"
	read := func(before, after string) func(*testing.T, *residue.Value) {
		return func(t *testing.T, v *residue.Value) {
			text := v.Within(before, after)
			defer clear(text)
			s, done, err := ReadJSON(bytes.NewReader(text), 0)
			if err != nil {
				return
			}
			_ = s.Names(t.Context(), func(name string) error {
				got, err := s.Fetch(t.Context(), name)
				got.Wipe()
				return err
			}, func(string, string) {})
			done()
		}
	}
	write := func(sink func() Sink, before, after string) func(*testing.T, *residue.Value) {
		return func(t *testing.T, v *residue.Value) {
			s := &Secret{values: [][]byte{v.Within(before, after)}, marks: []mark{{number: 1}}}
			_ = sink().Put("a", s)
			s.Wipe()
		}
	}
	lines := func() Sink { w, _ := NewLineWriter(io.Discard, time.Now()); return w }
	dotenv := func() Sink { return NewDotenvWriter(io.Discard) }
	for name, f := range map[string]func(*testing.T, *residue.Value){
		"Lines":            read(intro+`{"name":"a","versions":[{"version":1,"data":{"k":"`, `"}}]}`+end),
		"ErrLinesName":     read(intro+`{"name":"a b","versions":[{"version":1,"data":{"k":"`, `"}}]}`+end),
		"ErrLinesVersion":  read(intro+`{"name":"a","versions":[{"version":1,"data":{"k":"`, `"}},7]}`+end),
		"ErrLinesCut":      read(intro+`{"name":"a","versions":[{"version":1,"data":{"k":"`, ``),
		"Object":           read(`{"a":{"k":"`, `"}}`),
		"ErrObject":        read(`{"a":{"k":"`, `"}`),
		"LineWriter":       write(lines, `{"k":"`, `"}`),
		"DotenvWriter":     write(dotenv, `{"k":"`, `"}`),
		"DotenvQuoted":     write(dotenv, `{"k":"'`, `"}`),
		"ErrDotenvNumber":  write(dotenv, `{"a":"`, `","k":1}`),
		"ErrDotenvControl": write(dotenv, `{"a":"`, `\u0000"}`),
		"Text": func(_ *testing.T, v *residue.Value) {
			value := v.Within("a\"", "\n")
			Text(value, "").Wipe()
			clear(value)
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := residue.New(t, 64)
			f(t, v)
			v.Want(0, "afterwards")
		})
	}
}
