package metric

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// askTimeout bounds the query of the database. Without an answer only the error's code is reported.
const askTimeout = 3 * time.Second

var (
	pgRecovery = describe("pg_in_recovery", "1 when the server that serves reads is a standby.")
	pgHome     = describe("pg_reader_home", "1 when reads go to the first host of the settings, and 0 when they fell back to another one.")
	pgLagBytes = describe("pg_replication_lag_bytes", "Log that is not replayed yet. Absent while the primary does not answer.")
	pgLag      = describe("pg_replication_lag_seconds", "Age of the last replayed commit, and 0 when nothing is missing. Absent while the primary does not answer.")
	pgPrimary  = describe("pg_primary_answers", "1 when the primary answers.")
	pgError    = describe("pg_error", "1 while the database cannot be queried, by code of the failure.", "code")
)

// replication collects the state of replication.
type replication struct {
	ask func(context.Context) (vault.Replication, error)
}

// Describe implements prometheus.Collector.
func (r replication) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{pgRecovery, pgHome, pgLagBytes, pgLag, pgPrimary, pgError} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r replication) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s, err := r.ask(ctx)
	if err != nil {
		gauge(pgError, 1, string(core.CodeOf(err)))
		return
	}
	gauge(pgRecovery, oneIf(s.InRecovery))
	gauge(pgHome, oneIf(s.Home))
	gauge(pgPrimary, oneIf(s.Known))
	if s.Known {
		gauge(pgLagBytes, float64(s.LagBytes))
		gauge(pgLag, s.Lag.Seconds())
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
