package pgcluster

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// refusalHolds is how long the last refusal of a server counts as its present state.
const refusalHolds = 2 * time.Second

// refusals of a server that answers, with what is told of them.
var refusals = []struct {
	err  error
	text string
}{
	{ErrReadOnly, "read-only, as by a fence (default_transaction_read_only is on for the server, the database or the API's role)"},
	{ErrInRecovery, "in recovery (a standby)"},
	{ErrOutdated, "left behind by a failover"},
}

// noteRefusal keeps why a server that answered is not taken by the writer.
func (h *hostList) noteRefusal(x *Host, err error) {
	for _, r := range refusals {
		if !errors.Is(err, r.err) {
			continue
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		now := time.Now()
		if !errors.Is(x.refusal, r.err) {
			x.refusingSince = now
		}
		x.refusal, x.refusedAt = r.err, now
		return
	}
}

// forgetRefusal is for a server that could not be connected to, unless it has refused since startedAt.
func (h *hostList) forgetRefusal(x *Host, startedAt time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.refusedAt.Before(startedAt) {
		x.refusal = nil
	}
}

// noPrimary returns an error when every server has answered of late and none of them takes changes, and since when that
// is so. As long as one does not answer, that one may be the primary, or be about to be replaced by a new one.
func (h *hostList) noPrimary() (since time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var told, named []string
	for _, x := range h.all {
		if x.refusal == nil || now.Sub(x.refusedAt) > refusalHolds {
			return time.Time{}, nil
		}
		if x.refusingSince.After(since) {
			since = x.refusingSince
		}
		for _, r := range refusals {
			if errors.Is(x.refusal, r.err) {
				text := fmt.Sprintf("%s since %s", r.text, x.refusingSince.UTC().Format(time.RFC3339))
				told, named = append(told, text), append(named, x.Name+" is "+text)
			}
		}
	}
	return since, core.Wrap(core.Unavailable, errors.New(strings.Join(named, "; ")),
		"no database server takes changes; each of those that are known is: %s", strings.Join(told, "; "))
}

// refusal returns why servers that answer are not taken, when every server has refused of late or could not be connected to. It
// is nil as long as one of them may be a primary that is slow.
func (h *hostList) refusal() (why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, x := range h.all {
		switch {
		case x.refusal != nil && now.Sub(x.refusedAt) <= refusalHolds:
			why = x.refusal
		case !x.unreachableAt.After(x.answeredAt):
			return nil
		}
	}
	return why
}
