package vault_test

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// docs/AUDIT.md: while the journal takes no record a read is refused, and a change is not, since its record is in the
// database.
func TestFullJournalRefusesNoChange(t *testing.T) {
	d := newDoor(t)
	d.mustCreate(t, "a", marker)
	d.recorder.FailWith(func(vault.Entry) error { return core.Errorf(core.Unavailable, "full") })
	_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "b", Value: []byte("v")})
	wantCode(t, err, "")
	_, err = d.Read(t.Context(), d.reader, "a", 0)
	wantCode(t, err, core.Unavailable)
}
