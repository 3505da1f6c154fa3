package metric

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/quota"
)

var overQuotaTotal = describe("over_quota_total", "Requests refused because the quota of their caller was used up, by quota.", "quota")

// overQuotas collects what package quota counts, including kinds that have refused nothing so far.
type overQuotas struct{ count func(quota.Kind) uint64 }

// Describe implements prometheus.Collector.
func (o overQuotas) Describe(ch chan<- *prometheus.Desc) { ch <- overQuotaTotal }

// Collect implements prometheus.Collector.
func (o overQuotas) Collect(ch chan<- prometheus.Metric) {
	for _, k := range quota.Kinds {
		ch <- prometheus.MustNewConstMetric(overQuotaTotal, prometheus.CounterValue, float64(o.count(k)), string(k))
	}
}
