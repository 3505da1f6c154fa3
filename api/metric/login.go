package metric

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var loginsTotal = describe("logins_total",
	"Logins, by kind of the method and cause of the refusal. The cause ok means success, and the kind none that there is no such method.", "kind", "cause")

// logins collects the logins that the door counts. Kinds and causes are constants, so their number is bounded.
type logins struct{ counts func() []vault.LoginCount }

// Describe implements prometheus.Collector.
func (l logins) Describe(ch chan<- *prometheus.Desc) { ch <- loginsTotal }

// Collect implements prometheus.Collector.
func (l logins) Collect(ch chan<- prometheus.Metric) {
	for _, c := range l.counts() {
		kind, cause := string(c.Kind), c.Cause
		if kind == "" {
			kind = "none"
		}
		if cause == "" {
			cause = "ok"
		}
		ch <- prometheus.MustNewConstMetric(loginsTotal, prometheus.CounterValue, float64(c.Count), kind, cause)
	}
}
