package exttest

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// TestNamesBySQLAreThoseOfGo: C knows plain names without asking Go, and takes nothing for a name that Go does not.
func TestNamesBySQLAreThoseOfGo(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	names := []string{strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("a/", 127) + "a", strings.Repeat("a/", 128)}
	last := []string{""}
	for range 4 {
		var longer []string
		for _, s := range last {
			for _, c := range "a.Z9/_-" {
				longer = append(longer, s+string(c))
			}
		}
		if len(longer) > 1000 {
			longer = longer[:1000] // all that begin with what matters: a and a point
		}
		names, last = append(names, longer...), longer
	}
	for c := rune(1); c < 0x100; c++ {
		names = append(names, string(c), "a"+string(c), string(c)+"a", "a/"+string(c)+"/a")
	}
	for _, name := range names {
		_, err := core.ParseName(name)
		state := "42704" // there is none of that name
		if err != nil {
			state = "22023"
		}
		if got := sqlState(b.try("SELECT vault.read_secret($1)", name)); got != state {
			t.Errorf("%q: %s, want %s", name, got, state)
		}
	}
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return "none"
	}
	return pg.Code
}

// TestRequestsAreThoseOfGo: the agent, which reads requests by the rules of core/frame, gets from C what Go would have sent.
func TestRequestsAreThoseOfGo(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("SELECT vault.update_secret('kept', 'w', 1)")
	b.exec("SELECT vault.configure_secret('kept', grace_period_secs => 600)")
	b.exec("SELECT vault.update_secret('kept', 'x', 2)")
	b.agent.recorded()
	for sql, want := range map[string]frame.Request{
		"SELECT vault.read_secret('kept')":    {Action: frame.ActionRead, Keys: make([]frame.WrappedKey, 1)},
		"SELECT vault.verify('kept', 'none')": {Action: frame.ActionVerify, Keys: make([]frame.WrappedKey, 2)},
	} {
		b.exec(sql)
		sent := b.agent.recorded()
		if len(sent) != 1 {
			t.Fatalf("%s: %d requests", sql, len(sent))
		}
		r := sent[0]
		if r.Op != frame.OpUnwrap || r.Action != want.Action || r.Name != "kept" || len(r.Keys) != len(want.Keys) ||
			r.Origin.Database != b.db || r.Origin.Role != "postgres" || r.Origin.SessionRole != "postgres" ||
			!strings.HasPrefix(r.Origin.RequestID, "pid-") || r.ID.IsZero() {
			t.Errorf("%s: sent %+v", sql, r)
		}
		for _, k := range r.Keys {
			if k.Version < 2 || k.KeyID == "" || len(k.Wrapped) == 0 {
				t.Errorf("%s: key %+v", sql, k)
			}
		}
	}
}
