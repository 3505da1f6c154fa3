package audit_test

import (
	"context"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

type appender struct {
	got []vault.Entry
	err error
}

func (a *appender) AppendAudit(_ context.Context, e vault.Entry) error {
	a.got = append(a.got, e)
	return a.err
}

func TestDirect(t *testing.T) {
	e := vault.Entry{Action: vault.ActionRead, Name: "db/password", Version: 3, Outcome: vault.OutcomeOK}
	t.Run("OK", func(t *testing.T) {
		a := &appender{}
		if err := audit.NewDirect(a).Record(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		if len(a.got) != 1 || a.got[0] != e {
			t.Fatalf("wrote %v", a.got)
		}
	})
	t.Run("ErrUnavailable", func(t *testing.T) {
		a := &appender{err: core.Errorf(core.Unavailable, "no primary")}
		if err := audit.NewDirect(a).Record(context.Background(), e); core.CodeOf(err) != core.Unavailable {
			t.Fatalf("got %v", err)
		}
	})
}
