package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// superviseEvery is how long an answer of vault.supervision() is good for.
const superviseEvery = 2 * time.Second

// supervision is what vault.supervision() answers.
type supervision struct {
	InRecovery   bool       `json:"in_recovery"`
	Preloaded    bool       `json:"preloaded"`
	Database     string     `json:"database"`
	Serves       bool       `json:"serves"`
	Stalled      bool       `json:"stalled"`
	LastSignAt   *timestamp `json:"last_sign_at"`
	FailingSince *timestamp `json:"failing_since"`
	Reason       string     `json:"reason"`
	Commits      commits    `json:"commits"` // zero in a schema of protocol 1, which does not say
}

const supervisionQuery = "SELECT vault.supervision()"

func (d *DB) querySupervision(ctx context.Context) (s supervision, err error) {
	ctx, cancel := context.WithTimeout(ctx, countBound)
	defer cancel()
	return supervisionOf(read(ctx, d, supervisionQuery, nil, pgx.RowTo[[]byte]))
}

func supervisionOf(rows [][]byte, err error) (s supervision, _ error) {
	if err != nil {
		return s, err
	}
	if len(rows) != 1 || json.Unmarshal(rows[0], &s) != nil {
		return s, core.Errorf(core.Corrupt, "vault.supervision() answered something else")
	}
	return s, nil
}

// supervisorConditions are those of the supervisor of the server that reads go to. Without an answer there are none: the
// check of the reader says why.
func (d *DB) supervisorConditions(ctx context.Context) []vault.Condition {
	s, err := d.supervised.get(ctx, superviseEvery, d.querySupervision)
	if err != nil {
		return nil
	}
	c := vault.Condition{Part: "supervisor", Severity: vault.SeverityDegraded}
	switch {
	case !s.Preloaded:
		c.Name = vault.ConditionNotPreloaded
		c.Reason = fmt.Sprintf("the server does not preload the library, so no rotation is made and statements are logged with their values: "+
			"append hyperion_vault to shared_preload_libraries, set hyperion_vault.database = %s in postgresql.conf, and restart it", confLiteral(d.database))
	case !s.Serves:
		c.Name = vault.ConditionOtherDatabase
		c.Reason = fmt.Sprintf("the supervisor serves database %s, so no rotation is made in this one: "+
			"set hyperion_vault.database = %s in postgresql.conf, and restart the server", core.Quote(s.Database), confLiteral(d.database))
	case s.Stalled:
		c.Name, c.Since = vault.ConditionSupervisorStalled, orZero(s.LastSignAt).Time
		c.Reason = "the supervisor makes no pass, so nothing becomes due and nothing expires: "
		if s.Reason != "" {
			c.Reason += s.Reason
		} else {
			c.Reason += "it says no reason; the log of the server may"
		}
	default:
		return nil
	}
	return []vault.Condition{c}
}

// confLiteral is a string as postgresql.conf has it.
func confLiteral(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''", "\n", `\n`).Replace(s) + "'"
}

// rotationConditions are the rotations that wait although nothing of their own settings makes them.
func (d *DB) rotationConditions(ctx context.Context) []vault.Condition {
	s, err := d.Counts(ctx)
	if err != nil {
		return nil
	}
	var out []vault.Condition
	for _, w := range s.Waiting {
		c := vault.Condition{Name: vault.ConditionRotationsWait, Part: "supervisor", Severity: vault.SeverityNotice, Since: w.Since}
		switch w.Reason {
		case "not_claimed":
			c.Part = vault.PartRotator
			c.Reason = fmt.Sprintf("%d rotations can be made and no API process makes them", w.Count)
		case "not_enqueued":
			c.Reason = fmt.Sprintf("%d rotations are due and the supervisor has not enqueued them", w.Count)
		case "disabled":
			c.Reason = fmt.Sprintf("%d rotations are due and hyperion_vault.rotation_enabled is off", w.Count)
		case "unplanned":
			c.Part = vault.PartRotator
			c.Reason = fmt.Sprintf("%d schedules have no next time: no API process has computed it", w.Count)
		default:
			continue
		}
		out = append(out, c)
	}
	return out
}
