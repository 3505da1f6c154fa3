package vault

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Replication is where this node's database stands in its cluster.
type Replication struct {
	Host       string   // that reads go to, as the settings name it; "" = none yet
	Home       bool     // it is the first of the settings
	InRecovery bool     // it is a standby
	LSN        core.LSN // replayed there, or written if it is the primary
	Primary    string   // host of the settings that took changes last; "" = none yet
	Known      bool     // the primary answered, so that Lag is known
	// LeftBehind: the host is a primary, and one of a newer timeline is known. Lag is not known then.
	LeftBehind bool
	// ReadsBehind: the host has not replayed what this process has shown its clients before.
	ReadsBehind bool
	LagBytes    int64         // of the log that the host has not replayed; 0 on the primary
	Lag         time.Duration // age of the last commit that was replayed, 0 when nothing is missing
}

// Replicated is implemented by a Store that knows Replication. Errors: Unavailable.
type Replicated interface {
	Replication(ctx context.Context) (Replication, error)
}

// Replication returns where this node's database stands, for the operator's metrics: it says nothing of secrets, needs
// no right and is not recorded. The zero Replication means that there is nothing to tell. Errors: Unavailable.
func (v *Vault) Replication(ctx context.Context) (Replication, error) {
	r, ok := v.c.Store.(Replicated)
	if !ok {
		return Replication{}, nil
	}
	return r.Replication(ctx)
}
