package console

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// healthPage is how this node is, and how the last day went.
type healthPage struct {
	vault.Status
	Checks []healthCheck
	Charts []chart
	Now    time.Time
	Since  time.Time // of the first sample
}

// healthCheck is one part that the node needs.
type healthCheck struct {
	Name, Text string
	State      string // ok, degraded or missing
}

// checkNames are what people call the parts of readiness.
var checkNames = map[string]string{
	"reader": "PostgreSQL for reads", "writer": "PostgreSQL for changes", "keys": "Key service", "journal": "Audit journal", "supervisor": "Supervisor of the database",
}

// health shows the state of the node. What it counts needs a right, as the status by REST does.
func (v *visit) health() error {
	s, err := v.c.vault.Status(v.ctx(), v.caller)
	if err != nil {
		return err
	}
	p := healthPage{Status: s, Now: v.c.clock()}
	for _, c := range v.c.vault.Ready(v.ctx()) {
		h := healthCheck{Name: checkNames[c.Name], State: "ok"}
		switch {
		case c.Err == nil:
		case c.Degraded:
			h.State, h.Text = "degraded", strings.Join(c.Conditions, ", ")
		default:
			h.State, h.Text = "missing", strings.Join(c.Conditions, ", ")
		}
		if h.Name == "" {
			h.Name = c.Name
		}
		p.Checks = append(p.Checks, h)
	}
	all := v.c.samples.last(p.Now.Add(-chartSpan))
	p.Charts = chartsOf(all, p.Now)
	if len(all) > 0 {
		p.Since = all[0].at
	}
	return v.show(http.StatusOK, "health.html", v.page("Health", "health", &p))
}

// chartsOf draws the samples of the last day.
func chartsOf(all []sample, now time.Time) []chart {
	count := func(n int64) string { return fmt.Sprint(n) }
	secs := func(n int64) string { return span(time.Duration(n) * time.Second) }
	return []chart{
		chartOf("Rotations due", all, now, count, func(s sample) int64 { return s.due }),
		chartOf("Rotations failing", all, now, count, func(s sample) int64 { return s.failing }),
		chartOf("Replication lag", all, now, secs, func(s sample) int64 { return s.lagSecs }),
		chartOf("Audit records that wait", all, now, count, func(s sample) int64 { return s.pending }),
		chartOf("Key service missing", all, now, func(n int64) string { return []string{"never", "yes"}[min(n, 1)] }, func(s sample) int64 { return s.keysAway }),
	}
}
