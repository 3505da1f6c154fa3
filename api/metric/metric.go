// Package metric exports the counters of the other packages in the format of Prometheus. Apart from Requests it counts
// nothing itself. No label ever carries the name of a secret, a caller or a key.
package metric

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const prefix = "hyperion_vault_"

// Sources are what Handler reads the metrics from. Each answer calls each function once, and answers run
// concurrently. All fields are required except NotAfter.
type Sources struct {
	Keys       func() kms.Stats
	Journal    func() vault.AuditState
	Database   func(context.Context) (vault.Replication, error)
	Counts     func(context.Context) (vault.Status, error)
	Conditions func(context.Context) []vault.Condition
	Unrecorded func() uint64 // refusals without an audit record of their own
	Logins     func() []vault.LoginCount
	OverQuota  func(quota.Kind) uint64 // requests over a quota
	Refusals   func() map[vault.Cause]uint64
	Requests   *Requests
	Pools      func() []Pool
	Version    string           // of the program
	NotAfter   func() time.Time // when the API's certificate expires; nil = there is none
}

// Handler returns an HTTP handler for the current metrics, including those of the Go runtime and the process. At most
// four requests are answered at once. A database that does not answer within 3 s is reported as an error code.
func Handler(s Sources) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: prefix + "refusals_unrecorded_total", Help: "Requests refused without an audit record, because too many requests of their client were refused.",
	}, func() float64 { return float64(s.Unrecorded()) }),
		keys{s.Keys}, audit{s.Journal}, replication{s.Database}, rotations{s.Counts}, conditions{s.Conditions}, logins{s.Logins}, process{s.Pools, s.Version, s.Counts, s.NotAfter},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(overQuotas{s.OverQuota}, refusals{s.Refusals})
	r.MustRegister(s.Requests.collectors()...)
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: prefix + "panics_total", Help: "Panics that the process recovered from. The log has the place of each.",
	}, func() float64 { return float64(core.Panics()) }))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	cacheKeys      = describe("dek_cache_keys", "Data keys currently cached.")
	cacheOverdue   = describe("dek_cache_overdue_keys", "Cached data keys past their TTL. They are kept because the key service does not answer, for one more TTL at most.")
	cacheHits      = describe("dek_cache_hits_total", "Unwraps answered from the cache.")
	cacheMisses    = describe("dek_cache_misses_total", "Unwraps that waited for the key service.")
	cacheShared    = describe("dek_cache_shared_misses_total", "Misses that joined the call of another miss.")
	cacheDropped   = describe("dek_cache_dropped_total", "Data keys dropped from the cache, by reason.", "reason")
	cacheRefreshes = describe("dek_cache_refreshes_total", "Data keys refreshed before they expire, by result.", "result")
	kmsErrors      = describe("kms_errors_total", "Failed calls to the key service, by operation and code.", "operation", "code")
	kmsReasons     = describe("kms_failures_total", "Failed calls to the key service, by operation and reason.", "operation", "reason")
	kmsSeconds     = describe("kms_call_seconds", "Duration of calls to the key service, retries included.", "operation")
	kmsOpen        = describe("kms_circuit_open", "1 while the key service is considered away and calls are refused at once.")
	kmsRefused     = describe("kms_refused_attempts_total", "Attempts to call the key service that were refused because it is considered away.")
	kmsLast        = describe("kms_last_success_timestamp_seconds", "Time of the last successful call to the key service, by operation. 0 means never.", "operation")
)

// keys collects what a kms.Cache counts.
type keys struct{ stats func() kms.Stats }

// Describe implements prometheus.Collector.
func (k keys) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		cacheKeys, cacheOverdue, cacheHits, cacheMisses, cacheShared, cacheDropped, cacheRefreshes, kmsErrors, kmsReasons,
		kmsSeconds, kmsOpen, kmsRefused, kmsLast,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (k keys) Collect(ch chan<- prometheus.Metric) {
	s := k.stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(cacheKeys, float64(s.Kept))
	gauge(cacheOverdue, float64(s.Overdue))
	count(cacheHits, s.Hits)
	count(cacheMisses, s.Misses)
	count(cacheShared, s.Shared)
	count(cacheDropped, s.Evicted, "evicted")
	count(cacheDropped, s.Expired, "expired")
	count(cacheDropped, s.Revoked, "revoked")
	count(cacheRefreshes, s.Refreshes-s.RefreshErrors, "ok")
	count(cacheRefreshes, s.RefreshErrors, "failed")
	open := 0.0
	if s.Circuit.Open {
		open = 1
	}
	gauge(kmsOpen, open)
	count(kmsRefused, s.Circuit.Refused)
	for op, c := range map[string]kms.CallStats{"generate": s.Generate, "unwrap": s.Unwrap, "check": s.Check, "rewrap": s.Rewrap} {
		count(kmsErrors, c.Unavailable, op, "unavailable")
		count(kmsErrors, c.Denied, op, "denied")
		count(kmsErrors, c.Corrupt, op, "corrupt")
		count(kmsErrors, c.OtherErrors, op, "other")
		for reason, n := range c.Reasons {
			count(kmsReasons, n, op, kms.Reason(reason).String())
		}
		gauge(kmsLast, seconds(c.LastOK), op)
		ch <- prometheus.MustNewConstHistogram(kmsSeconds, c.Calls, c.Total.Seconds(), cumulative(c), op)
	}
}

// cumulative turns counts per bucket into counts up to each bound.
func cumulative(c kms.CallStats) map[float64]uint64 {
	out, sum := map[float64]uint64{}, uint64(0)
	for i, bound := range kms.LatencyBounds {
		sum += c.Latency[i]
		out[bound.Seconds()] = sum
	}
	return out
}
