package metric

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var refusalsTotal = describe("refusals_total", "Refused REST requests and names of batch reads, by cause. Logins and quotas have metrics of their own.", "cause")

// refusals collects the refusals that the door counts, including causes without any.
type refusals struct{ counts func() map[vault.Cause]uint64 }

// Describe implements prometheus.Collector.
func (r refusals) Describe(ch chan<- *prometheus.Desc) { ch <- refusalsTotal }

// Collect implements prometheus.Collector.
func (r refusals) Collect(ch chan<- prometheus.Metric) {
	counts := r.counts()
	for _, c := range vault.RefusalCauses {
		ch <- prometheus.MustNewConstMetric(refusalsTotal, prometheus.CounterValue, float64(counts[c]), string(c))
	}
}
