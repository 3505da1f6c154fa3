package residue_test

import (
	"runtime"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
)

// TestCount: what is held, dropped without a wipe, in the middle of something else or at the edge of a window is found;
// what is wiped is not.
func TestCount(t *testing.T) {
	v := residue.New(t, 40)
	v.Want(0, "before")
	held := v.Bytes()
	v.Want(1, "held")
	func() { v.Within(`{"value":"`, `"}`)[0] = 'x' }()
	v.Want(2, "dropped")
	clear(held)
	v.Want(1, "wiped")
	const window = 1 << 20
	big := make([]byte, 3*window)
	for at := window/2 + 7; at+40 < len(big); at += window / 8 {
		copy(big[at:], v.Bytes())
	}
	n := v.Count()
	clear(big)
	if after := v.Count(); n-after != 20 {
		t.Errorf("%d of 20 were found", n-after)
	}
	runtime.KeepAlive(big)
	known := v.Bytes()
	w := residue.Of(t, known)
	n = w.Count()
	clear(known)
	if w.Count() != n-1 {
		t.Error("a value that a test had was not found")
	}
}
