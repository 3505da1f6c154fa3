package store

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// hopeAfter is how long a change waits for a primary when every server answers and none takes changes.
	hopeAfter = 700 * time.Millisecond
	// refusalHolds is how long the last refusal of a server is taken for its present state.
	refusalHolds = 2 * time.Second
)

// refusals of a server that answers, with what is told of them.
var refusals = []struct {
	err  error
	text string
}{
	{errReadOnly, "read-only, as by a fence (default_transaction_read_only is on for the server, the database or the API's role)"},
	{errInRecovery, "in recovery (a standby)"},
	{errOutdated, "left behind by a failover"},
}

// noteRefusal keeps why a server that answered is not taken by the writer.
func (h *hosts) noteRefusal(x *host, err error) {
	for _, r := range refusals {
		if !errors.Is(err, r.err) {
			continue
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		now := time.Now()
		if !errors.Is(x.refusal, r.err) {
			x.refusing = now
		}
		x.refusal, x.refused = r.err, now
		return
	}
}

// forgetRefusal is for a server that could not be connected to, unless it has refused since begun.
func (h *hosts) forgetRefusal(x *host, begun time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.refused.Before(begun) {
		x.refusal = nil
	}
}

// noPrimary returns an error when every server has answered of late and none of them takes changes, and since when that
// is so. As long as one does not answer, that one may be the primary, or be about to be replaced by a new one.
func (h *hosts) noPrimary() (since time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var told, named []string
	for _, x := range h.all {
		if x.refusal == nil || now.Sub(x.refused) > refusalHolds {
			return time.Time{}, nil
		}
		if x.refusing.After(since) {
			since = x.refusing
		}
		for _, r := range refusals {
			if errors.Is(x.refusal, r.err) {
				text := fmt.Sprintf("%s since %s", r.text, x.refusing.UTC().Format(time.RFC3339))
				told, named = append(told, text), append(named, x.name+" is "+text)
			}
		}
	}
	return since, core.Wrap(core.Unavailable, errors.New(strings.Join(named, "; ")),
		"no database server takes changes; each of those that are known is: %s", strings.Join(told, "; "))
}

// hopeless is noPrimary for a change or a read of the primary that has waited since begun.
func (d *DB) hopeless(begun time.Time) error {
	if time.Since(begun) < hopeAfter {
		return nil
	}
	_, err := d.writer.hosts.noPrimary()
	return err
}

// writerConditions are what keeps changes from being made, beside a server that does not answer.
func (d *DB) writerConditions() []vault.Condition {
	var out []vault.Condition
	if since, err := d.writer.hosts.noPrimary(); err != nil {
		out = append(out, vault.Condition{Name: vault.ConditionNoPrimary, Part: "writer", Severity: vault.SeverityDegraded, Reason: err.Error(), Since: since})
	}
	if since, err := d.lastChange.get(); err != nil {
		out = append(out, vault.Condition{Name: vault.ConditionChangesFail, Part: "writer", Severity: vault.SeverityDegraded, Since: since,
			Reason: "changes have failed since then, the last one because " + core.MessageOf(err)})
	}
	return out
}
