package vault

import (
	"errors"

	"github.com/hyperiondb/hyperion-vault/core"
)

// ErrNotReplayed is in the Stale error of a read that demands a position of this node alone, which has not replayed it.
var ErrNotReplayed = errors.New("the position has not been replayed here")

// Freshness is how recent the state must be that a read sees. The zero Freshness is whatever the reader has: on a
// standby that is what has been replayed there.
type Freshness struct {
	// Primary makes a read go to the primary, and accepts no server that is in recovery.
	Primary bool
	// Position is what must have been replayed where the read is done; zero = nothing in particular. A reader that does
	// not get there soon, or is not known to be on that timeline or a later one, is passed over for the primary.
	Position core.Position
	// Here has the read fail with ErrNotReplayed where it would wait for the position, or go to the primary for it.
	Here bool
}
