package metric

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var (
	rotationsDue       = describe("rotations_due", "Secrets whose rotation is due and not done.")
	rotationsOverdue   = describe("rotations_overdue_seconds", "How long the oldest due rotation has been due.")
	rotationsClaimed   = describe("rotations_claimed", "Rotations that a worker has claimed.")
	rotationsFailing   = describe("rotations_failing", "Rotations that failed and will be retried. GET /v1/status has the reasons.")
	rolesBound         = describe("roles_bound", "Roles of PostgreSQL whose passwords secrets are.")
	rolesDiffering     = describe("roles_differing", "Bound roles that are not as the vault has made them, by the supervisor's last pass.")
	formerSessions     = describe("roles_former_sessions", "Sessions of the node's server that logged in with a password of a bound role that is no longer the current one.")
	leases             = describe("leases", "Leased roles.")
	leasesDue          = describe("leases_due", "Leased roles that are to be ended and are still there.")
	leasesFailing      = describe("leases_failing", "Leased roles that could not be ended, and are tried again. GET /v1/status has the reasons.")
	rotationsMissed    = describe("rotations_missed", "Rotations of the last 30 days whose window passed.")
	rotationsUnplanned = describe("rotations_unplanned", "Secrets with a schedule whose next time is not computed.")
	rotationsWaiting   = describe("rotations_waiting", "Due rotations that are not made, by reason. GET /v1/status shows since when.", "reason")
	supervisorPass     = describe("supervisor_last_pass_timestamp_seconds", "Time of the last pass of the supervisor. 0 means never.")
	eventsHeld         = describe("events_held_seconds", "How long events have been held up by an older open transaction.")
)

// rotations collects the state of rotation from the node's own database. Without an answer pg_error reports it.
type rotations struct {
	counts func(context.Context) (vault.Status, error)
}

// Describe implements prometheus.Collector.
func (r rotations) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		rotationsDue, rotationsOverdue, rotationsClaimed, rotationsFailing, rolesBound, rolesDiffering,
		formerSessions, leases, leasesDue, leasesFailing, rotationsMissed, rotationsUnplanned, rotationsWaiting, supervisorPass, eventsHeld,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r rotations) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	s, err := r.counts(ctx)
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(rotationsDue, float64(s.Due))
	gauge(rotationsOverdue, float64(s.OverdueSecs))
	gauge(rotationsClaimed, float64(s.Claimed))
	gauge(rotationsFailing, float64(s.Failing))
	gauge(rotationsMissed, float64(s.Missed))
	gauge(rolesBound, float64(s.RolesBound))
	gauge(rolesDiffering, float64(s.RolesDiffering))
	gauge(formerSessions, float64(s.FormerSessions))
	gauge(leases, float64(s.Leases))
	gauge(leasesDue, float64(s.LeasesDue))
	gauge(leasesFailing, float64(s.LeasesFailing))
	gauge(rotationsUnplanned, float64(s.Unplanned))
	waiting := map[string]int64{}
	for _, w := range s.Waiting {
		waiting[w.Reason] = w.Count
	}
	for _, reason := range vault.WaitingReasons {
		ch <- prometheus.MustNewConstMetric(rotationsWaiting, prometheus.GaugeValue, float64(waiting[reason]), reason)
	}
	gauge(supervisorPass, seconds(s.LastPassAt))
	gauge(eventsHeld, float64(s.EventsHeldSecs))
}
