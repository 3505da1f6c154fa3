package metric

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Pool describes the use of one pool of database connections. The first three numbers are current. The others only
// grow.
type Pool struct {
	Name          string // "reader" or "writer"
	Max           int
	InUse, Idle   int
	Acquired      uint64        // connections handed out
	Waited        uint64        // of these, the ones that no idle connection was ready for
	GaveUp        uint64        // requests that ended before they had a connection
	AcquireWaited time.Duration // sum of all waits
}

var (
	poolMax      = describe("db_pool_max_connections", "Largest number of connections of a pool.", "pool")
	poolInUse    = describe("db_pool_in_use_connections", "Connections in use.", "pool")
	poolIdle     = describe("db_pool_idle_connections", "Open connections that are not in use.", "pool")
	poolAcquired = describe("db_pool_acquires_total", "Connections handed out.", "pool")
	poolWaited   = describe("db_pool_empty_acquires_total", "Connections handed out when none was idle.", "pool")
	poolGaveUp   = describe("db_pool_canceled_acquires_total", "Requests that ended before they got a connection.", "pool")
	poolSeconds  = describe("db_pool_acquire_seconds_total", "Time that requests waited for a connection when none was idle.", "pool")
	buildInfo    = describe("build_info", "Version of the program. The value is always 1.", "version", "go_version")
	schemaInfo   = describe("schema_info", "Version of the schema in the database that serves reads. The value is 1, and absent while the database does not answer.", "version")
	certExpiry   = describe("tls_certificate_expiry_timestamp_seconds", "Time when the certificate of the API expires.")
)

// process collects the metrics of the process itself.
type process struct {
	pools    func() []Pool
	version  string
	counts   func(context.Context) (vault.Status, error)
	notAfter func() time.Time // nil without TLS
}

// Describe implements prometheus.Collector.
func (p process) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		poolMax, poolInUse, poolIdle, poolAcquired, poolWaited, poolGaveUp, poolSeconds, buildInfo, schemaInfo, certExpiry,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p process) Collect(ch chan<- prometheus.Metric) {
	emit := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, x := range p.pools() {
		emit(poolMax, prometheus.GaugeValue, float64(x.Max), x.Name)
		emit(poolInUse, prometheus.GaugeValue, float64(x.InUse), x.Name)
		emit(poolIdle, prometheus.GaugeValue, float64(x.Idle), x.Name)
		emit(poolAcquired, prometheus.CounterValue, float64(x.Acquired), x.Name)
		emit(poolWaited, prometheus.CounterValue, float64(x.Waited), x.Name)
		emit(poolGaveUp, prometheus.CounterValue, float64(x.GaveUp), x.Name)
		emit(poolSeconds, prometheus.CounterValue, x.AcquireWaited.Seconds(), x.Name)
	}
	emit(buildInfo, prometheus.GaugeValue, 1, p.version, runtime.Version())
	if p.notAfter != nil {
		emit(certExpiry, prometheus.GaugeValue, seconds(p.notAfter()))
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	if s, err := p.counts(ctx); err == nil {
		emit(schemaInfo, prometheus.GaugeValue, 1, s.Version)
	}
}
