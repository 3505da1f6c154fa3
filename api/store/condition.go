package store

import (
	"context"
	"errors"
	"slices"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Conditions implements vault.Conditioned.
func (d *DB) Conditions(ctx context.Context) []vault.Condition {
	return slices.Concat(d.supervisorConditions(ctx), d.rotationConditions(ctx), d.writerConditions(), d.commitConditions(ctx), d.readerConditions(ctx))
}

// writerConditions are what keeps changes from being made, beside a server that does not answer.
func (d *DB) writerConditions() []vault.Condition {
	var out []vault.Condition
	if since, err := d.writer.NoPrimary(); err != nil {
		out = append(out, vault.Condition{Name: vault.ConditionNoPrimary, Part: "writer", Severity: vault.SeverityDegraded, Reason: err.Error(), Since: since})
	}
	if since, err := d.lastChange.get(); err != nil {
		out = append(out, vault.Condition{Name: vault.ConditionChangesFail, Part: "writer", Severity: vault.SeverityDegraded, Since: since,
			Reason: "changes have failed since then, the last one because " + core.MessageOf(err)})
	}
	return out
}

// readerConditions are how what is read can be older than it should be.
func (d *DB) readerConditions(ctx context.Context) []vault.Condition {
	r, err := d.Replication(ctx)
	if err != nil {
		return nil
	}
	c := vault.Condition{Part: "reader", Severity: vault.SeverityDegraded}
	old := d.reader.FirstLeftBehind()
	if r.LeftBehind {
		old = r.Host
	}
	switch {
	case old != "":
		c.Name = vault.ConditionLeftBehind
		c.Reason = "reads go to " + r.Host + ". " + old + " is a primary of an older timeline than the newest that is known: it was left behind by a failover, and what is read from it may be old. " +
			"Stop it, rewind it or copy it again, and start it as a standby"
	case r.ReadsBehind:
		c.Name = vault.ConditionReadsBehind
		c.Reason = r.Host + " has not replayed what this process has shown its clients before, and no other host answers: reads have gone back"
	default:
		return d.awayConditions(r)
	}
	return []vault.Condition{c}
}

// awayConditions say why reads do not go to the first host.
func (d *DB) awayConditions(r vault.Replication) []vault.Condition {
	home, why := d.reader.Away()
	if home == "" || r.Home {
		return nil
	}
	reason := "it has not been tried since"
	switch {
	case errors.Is(why, pgcluster.ErrBehind):
		reason = "it has not replayed yet what this process has shown its clients"
	case why != nil:
		reason = core.MessageOf(d.classify(why))
	}
	return []vault.Condition{{Name: vault.ConditionReadsAway, Part: "reader", Severity: vault.SeverityNotice,
		Reason: "reads go to " + r.Host + " and not to " + home + ", the first of VAULT_PG_HOSTS: " + reason}}
}
