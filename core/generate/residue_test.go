package generate_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
	"github.com/hyperiondb/hyperion-vault/core/generate"
)

// remembering is a source of random bytes that keeps where it put them.
type remembering struct {
	io.Reader
	out [][]byte
}

func (r *remembering) Read(b []byte) (int, error) {
	r.out = append(r.out, b)
	return r.Reader.Read(b)
}

// drawn are random bytes of which each makes a lower case letter.
var drawn = func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 2048)
	for i := range b {
		b[i] = byte(r.IntN(len(lower)))
	}
	return b
}()

// letters is a source from which only lower case letters are drawn, the same in every run.
func letters() io.Reader { return bytes.NewReader(drawn) }

// TestGenerateWipes: neither the random bytes nor a value that is not returned stays in memory.
func TestGenerateWipes(t *testing.T) {
	p := generate.Policy{Length: 512, Lower: true}
	first := mustGenerate(t, p, letters())
	v := residue.Of(t, first[:256]) // what the first random bytes make
	clear(first)
	before := v.Count()
	r := &remembering{Reader: letters()}
	clear(mustGenerate(t, p, r))
	for _, b := range r.out {
		if len(bytes.Trim(b, "\x00")) != 0 {
			t.Error("random bytes are not wiped")
		}
	}
	v.Want(before, "a value that the test wiped")
	if _, err := p.Generate(io.MultiReader(io.LimitReader(letters(), 256), broken{})); err == nil {
		t.Error("a source that fails was believed")
	}
	v.Want(before, "the source failed")
	short := generate.Policy{Length: 256, Lower: true, Digits: true}
	if _, err := short.Generate(repeating{}); err == nil { // each draw is the same, so that the last one is known
		t.Error("a source that is not random was believed")
	}
	v.Want(before, "no value had every class")
	doc := bytes.Join([][]byte{[]byte(`{"a":"`), []byte("x"), []byte(`"}`)}, nil)
	p.JSONField = "a"
	out, err := p.Replace(doc, letters())
	if err != nil {
		t.Fatal(err)
	}
	clear(out)
	v.Want(before, "a field of a document")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no bytes") }

// repeating gives the first 256 bytes of letters at every call.
type repeating struct{}

func (repeating) Read(b []byte) (int, error) { return copy(b, drawn), nil }
