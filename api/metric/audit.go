package metric

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var (
	auditPending  = describe("audit_pending_records", "Audit records in the journal that have not arrived at the primary.")
	auditBytes    = describe("audit_pending_bytes", "Size of the audit records that have not arrived at the primary.")
	auditMax      = describe("audit_max_pending_bytes", "Size of pending audit records beyond which every operation is refused.")
	auditOldest   = describe("audit_oldest_pending_timestamp_seconds", "Time of the oldest pending audit record. 0 means that none is pending.")
	auditRecorded = describe("audit_recorded_total", "Audit records written to the journal.")
	auditRefused  = describe("audit_refused_total", "Audit records that could not be written, so their operations were refused.")
	auditShipped  = describe("audit_shipped_total", "Audit records that arrived at the primary.")
	auditLeased   = describe("audit_leased_total", "Audit records of reads by SQL with leased keys that were taken into the journal.")
	auditWaiting  = describe("audit_leased_waiting_bytes", "Size of the records of reads with leased keys that are not in the journal yet.")
	auditTorn     = describe("audit_leased_damaged_total", "Pieces in the files of leased reads that were no records.")
	auditLast     = describe("audit_last_shipped_timestamp_seconds", "Time when the primary last accepted or confirmed audit records. 0 means never.")
	auditFailing  = describe("audit_ship_failing", "1 while audit records do not arrive at the primary, by class of the failure.", "class")
)

// audit collects what a journal counts.
type audit struct{ state func() vault.AuditState }

// Describe implements prometheus.Collector.
func (a audit) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		auditPending, auditBytes, auditMax, auditOldest, auditRecorded, auditRefused, auditShipped, auditLeased, auditWaiting, auditTorn, auditLast, auditFailing,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (a audit) Collect(ch chan<- prometheus.Metric) {
	s := a.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, n uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	gauge(auditPending, float64(s.Pending))
	gauge(auditBytes, float64(s.PendingBytes))
	gauge(auditMax, float64(s.MaxBytes))
	gauge(auditOldest, seconds(s.OldestPending))
	count(auditRecorded, s.Recorded)
	count(auditRefused, s.Refused)
	count(auditShipped, s.Shipped)
	count(auditLeased, s.Leased)
	gauge(auditWaiting, float64(s.LeasedBytes))
	count(auditTorn, s.LeasedDamaged)
	gauge(auditLast, seconds(s.LastShippedAt))
	if s.LastShipError != "" {
		gauge(auditFailing, 1, s.LastShipError)
	}
}

// seconds returns the seconds since 1970 of t, and 0 for the zero time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
