package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

// TestTornEnd cuts the last segment at every byte of its last record: the records before it stay, and the journal goes
// on where they end.
func TestTornEnd(t *testing.T) {
	f := newFixture(t, Config{})
	f.record("a", "b", "torn")
	_ = f.Close()
	whole, err := os.ReadFile(f.lastFile())
	if err != nil {
		t.Fatal(err)
	}
	start := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	ends := [][]byte{append(bytes.Clone(whole[:start]), make([]byte, 5000)...), append(bytes.Clone(whole[:start]), "garbage\nand more\n"...)}
	for end := start; end < len(whole); end++ {
		ends = append(ends, whole[:end])
	}
	for _, torn := range ends {
		if err := os.WriteFile(f.lastFile(), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		f.open()
		f.record("c")
		f.reopen()
		f.want("a", "b", "c")
		_ = f.Close()
	}
	if n := strings.Count(f.log.String(), "which was cut off"); n != len(ends)-1 { // one of them ends with a whole record
		t.Errorf("the log tells of %d cuts, not %d", n, len(ends)-1)
	}
}

// TestHole: the machine stopped, and of what was not synced some pages are there and earlier ones are not. The journal
// goes on before the first of them, and its log says what is lost.
func TestHole(t *testing.T) {
	for _, size := range []int{128, 131} { // records that begin with sectors, and that do not
		f, whole := written(t, size)
		for _, h := range [][2]int{{8192, 12288}, {0, 4096}, {4096, 16384}, {9 * 512, 10 * 512}, {50 * size, 8192}} {
			b := bytes.Clone(whole)
			clear(b[h[0]:h[1]])
			f.must(os.WriteFile(f.lastFile(), b, 0o600))
			f.open()
			f.record("after")
			f.reopen()
			kept := h[0] / size
			if got := f.drain(); len(got) != kept+1 || got[kept] != "after" {
				t.Errorf("zeros from %d to %d: %d records, not %d", h[0], h[1], len(got), kept+1)
			}
			_ = f.Close()
			readable := 300 - (h[1]+size-1)/size
			if want := fmt.Sprintf("offset=%d bytes=%d from=%d to=300 readable=%d", kept*size, len(whole)-kept*size, kept+1, readable); !strings.Contains(f.log.String(), want) {
				t.Errorf("the log does not say %q: %s", want, f.log)
			}
		}
	}
}

// TestHoleOfAnotherKind: what no power loss leaves is damage, in the last segment too.
func TestHoleOfAnotherKind(t *testing.T) {
	f, whole := written(t, 131)
	for what, change := range map[string]func(b []byte){
		"a byte":                             func(b []byte) { b[8191] = 0 },
		"zeros that begin within a record":   func(b []byte) { clear(b[8000:8192]) },
		"zeros that end within a sector":     func(b []byte) { clear(b[8192:9000]) },
		"zeros for a record":                 func(b []byte) { clear(b[131*50 : 131*51]) },
		"a sector of something":              func(b []byte) { copy(b[8192:], bytes.Repeat([]byte{'x'}, 512)) },
		"a sector of something before zeros": func(b []byte) { copy(b[4096:], bytes.Repeat([]byte{'\n'}, 512)); clear(b[8192:12288]) },
	} {
		t.Run(what, func(t *testing.T) {
			b := bytes.Clone(whole)
			change(b)
			f.refuses(f.lastFile(), b)
		})
	}
	t.Run("zeros before the last segment", func(t *testing.T) {
		b := bytes.Clone(whole)
		clear(b[4096:8192])
		file := f.lastFile()
		f.must(os.WriteFile(filepath.Join(f.c.Dir, segmentName(301)), nil, 0o600))
		f.refuses(file, b)
	})
}

// TestDamage changes every byte of the journal but the last record's: none of it goes unseen, and the error says where.
func TestDamage(t *testing.T) {
	f := newFixture(t, Config{segmentSize: 300})
	f.record("a", "b", "c", "d", "e")
	_ = f.Close()
	files, _ := filepath.Glob(filepath.Join(f.c.Dir, "*"+segmentSuffix))
	if len(files) < 2 {
		t.Fatalf("%d segments", len(files))
	}
	for n, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		end := len(whole)
		if n == len(files)-1 {
			end = bytes.LastIndexByte(whole[:end-1], '\n')
		}
		for i := range end {
			bad := bytes.Clone(whole)
			bad[i] ^= 0x11
			f.refuses(file, bad)
		}
		f.refuses(file, whole[:max(0, end-1)])
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f.c); len(files) > 2 && core.CodeOf(err) != core.Corrupt {
		t.Errorf("a segment is missing: %v", err)
	}
}
