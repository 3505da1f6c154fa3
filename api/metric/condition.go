package metric

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var (
	condition      = describe("condition", "1 while a condition of this node holds. GET /v1/status has the reason, and docs/OPERATIONS.md the remedy.", "condition", "severity")
	conditionSince = describe("condition_since_timestamp_seconds", "Time since when a condition holds.", "condition")
)

// conditions collects the conditions of the node. It includes those that do not hold, so that an alert can be written
// before the first one holds.
type conditions struct {
	ask func(context.Context) []vault.Condition
}

// Describe implements prometheus.Collector.
func (c conditions) Describe(ch chan<- *prometheus.Desc) {
	ch <- condition
	ch <- conditionSince
}

// Collect implements prometheus.Collector.
func (c conditions) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	holds := map[string]vault.Condition{}
	for _, x := range c.ask(ctx) {
		if known, ok := holds[x.Name]; !ok || x.Since.Before(known.Since) {
			holds[x.Name] = x
		}
	}
	for _, name := range vault.ConditionNames {
		x, ok := holds[name]
		ch <- prometheus.MustNewConstMetric(condition, prometheus.GaugeValue, oneIf(ok), name, string(x.Severity))
		if ok {
			ch <- prometheus.MustNewConstMetric(conditionSince, prometheus.GaugeValue, seconds(x.Since), name)
		}
	}
}
