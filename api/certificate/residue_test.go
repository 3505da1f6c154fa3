package certificate

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
)

// TestKeyFileIsWiped: the text of the key is nowhere once its file has been read.
func TestKeyFileIsWiped(t *testing.T) {
	s, f := open(t, pki.NewCA(t).Issue(t, "localhost", time.Now().Add(time.Hour)), nil)
	text, err := os.ReadFile(f.key)
	if err != nil {
		t.Fatal(err)
	}
	v := residue.Of(t, bytes.Split(text, []byte("\n"))[1]) // below the BEGIN
	clear(text)
	before := v.Count()
	if _, err := s.read(); err != nil {
		t.Fatal(err)
	}
	v.Want(before, "after the file was read")
}
