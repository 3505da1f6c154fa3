package metric

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/quota"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func stats() kms.Stats {
	s := kms.Stats{Kept: 3, Hits: 10, Misses: 4, Shared: 1, Refreshes: 5, RefreshErrors: 2, Evicted: 6, Expired: 7}
	s.Overdue, s.Revoked, s.Circuit = 2, 8, kms.Circuit{Open: true, Refused: 11}
	s.Unwrap = kms.CallStats{Calls: 9, Unavailable: 2, Denied: 1, Total: 2 * time.Second, LastOK: time.UnixMilli(1500)}
	s.Unwrap.Reasons[kms.ReasonThrottled] = 2
	s.Unwrap.Latency[0], s.Unwrap.Latency[1], s.Unwrap.Latency[len(s.Unwrap.Latency)-1] = 5, 3, 1
	return s
}

func journal() vault.AuditState {
	return vault.AuditState{
		Pending: 11, PendingBytes: 12, MaxBytes: 13, OldestPending: time.UnixMilli(2500), Recorded: 14, Refused: 15, Shipped: 16, Leased: 44, LeasedBytes: 45, LeasedDamaged: 46,
		LastShippedAt: time.UnixMilli(3500), LastShipError: "unavailable",
	}
}

func standby(context.Context) (vault.Replication, error) {
	return vault.Replication{InRecovery: true, Home: true, Known: true, LagBytes: 4096, Lag: 1500 * time.Millisecond}, nil
}

func counts(context.Context) (vault.Status, error) {
	return vault.Status{
		Version: "0.0.7", Due: 21, OverdueSecs: 22, Claimed: 23, Failing: 24, Missed: 25, RolesBound: 28, RolesDiffering: 29, FormerSessions: 30, Leases: 31, LeasesDue: 32, LeasesFailing: 33, Unplanned: 26, EventsHeldSecs: 27, LastPassAt: time.UnixMilli(4500),
		Failures: []vault.Failure{{Name: "a/secret/name"}}, Waiting: []vault.Waiting{{Reason: "not_claimed", Count: 3}},
	}, nil
}

func holding(context.Context) []vault.Condition {
	return []vault.Condition{{Name: vault.ConditionNotPreloaded, Severity: vault.SeverityDegraded, Reason: "of no concern to a metric", Since: time.UnixMilli(5500)}}
}

func overQuota(k quota.Kind) uint64 {
	return map[quota.Kind]uint64{quota.Reads: 41, quota.Verifies: 42, quota.Changes: 43}[k]
}

func sources(database func(context.Context) (vault.Replication, error)) Sources {
	r := NewRequests()
	r.Begin()
	r.Begin()
	r.End("GET", "/v1/secrets/{name}", 200, 3*time.Millisecond)
	return Sources{
		Keys: stats, Journal: journal, Database: database, Counts: counts, Conditions: holding, Unrecorded: func() uint64 { return 17 }, Requests: r,
		Logins: func() []vault.LoginCount {
			return []vault.LoginCount{{Kind: vault.LoginJWT, Count: 41}, {Kind: vault.LoginJWT, Cause: "login_audience", Count: 42}, {Cause: "login_method", Count: 43}}
		},
		OverQuota: overQuota, Refusals: func() map[vault.Cause]uint64 { return map[vault.Cause]uint64{vault.CauseGrant: 44} },
		Version: "9.9", NotAfter: func() time.Time { return time.UnixMilli(5500) },
		Pools: func() []Pool {
			return []Pool{{Name: "reader", Max: 31, InUse: 32, Idle: 33, Acquired: 34, Waited: 35, GaveUp: 36, AcquireWaited: 1500 * time.Millisecond}}
		},
	}
}

func TestHandler(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(sources(standby)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body := w.Body.String()
	for _, line := range []string{
		"hyperion_vault_dek_cache_keys 3", `hyperion_vault_refusals_total{cause="grant"} 44`, `hyperion_vault_refusals_total{cause="scope"} 0`, `hyperion_vault_over_quota_total{quota="verifies"} 42`, "hyperion_vault_dek_cache_hits_total 10", "hyperion_vault_dek_cache_misses_total 4",
		`hyperion_vault_dek_cache_refreshes_total{result="ok"} 3`, `hyperion_vault_dek_cache_refreshes_total{result="failed"} 2`,
		`hyperion_vault_dek_cache_dropped_total{reason="evicted"} 6`, `hyperion_vault_dek_cache_dropped_total{reason="revoked"} 8`,
		"hyperion_vault_dek_cache_overdue_keys 2", "hyperion_vault_kms_circuit_open 1", "hyperion_vault_kms_refused_attempts_total 11",
		`hyperion_vault_kms_last_success_timestamp_seconds{operation="unwrap"} 1.5`, `hyperion_vault_kms_last_success_timestamp_seconds{operation="check"} 0`,
		`hyperion_vault_kms_errors_total{code="unavailable",operation="unwrap"} 2`,
		`hyperion_vault_kms_failures_total{operation="unwrap",reason="throttled"} 2`,
		`hyperion_vault_kms_failures_total{operation="generate",reason="timeout"} 0`,
		`hyperion_vault_kms_call_seconds_bucket{operation="unwrap",le="0.001"} 5`,
		`hyperion_vault_kms_call_seconds_bucket{operation="unwrap",le="0.005"} 8`,
		`hyperion_vault_kms_call_seconds_bucket{operation="unwrap",le="10"} 8`,
		`hyperion_vault_kms_call_seconds_bucket{operation="unwrap",le="+Inf"} 9`,
		`hyperion_vault_kms_call_seconds_count{operation="rewrap"} 0`,
		"hyperion_vault_refusals_unrecorded_total 17",
		`hyperion_vault_logins_total{cause="ok",kind="jwt"} 41`, `hyperion_vault_logins_total{cause="login_audience",kind="jwt"} 42`,
		`hyperion_vault_logins_total{cause="login_method",kind="none"} 43`,
		`hyperion_vault_http_requests_total{method="GET",route="/v1/secrets/{name}",status="200"} 1`, "hyperion_vault_http_requests_in_flight 1",
		`hyperion_vault_http_request_seconds_bucket{method="GET",route="/v1/secrets/{name}",le="0.0025"} 0`,
		`hyperion_vault_http_request_seconds_bucket{method="GET",route="/v1/secrets/{name}",le="0.005"} 1`,
		`hyperion_vault_db_pool_max_connections{pool="reader"} 31`, `hyperion_vault_db_pool_in_use_connections{pool="reader"} 32`,
		`hyperion_vault_db_pool_idle_connections{pool="reader"} 33`, `hyperion_vault_db_pool_acquires_total{pool="reader"} 34`,
		`hyperion_vault_db_pool_empty_acquires_total{pool="reader"} 35`, `hyperion_vault_db_pool_canceled_acquires_total{pool="reader"} 36`,
		`hyperion_vault_db_pool_acquire_seconds_total{pool="reader"} 1.5`, `version="9.9"} 1`, `hyperion_vault_schema_info{version="0.0.7"} 1`,
		"hyperion_vault_tls_certificate_expiry_timestamp_seconds 5.5",
		"hyperion_vault_audit_pending_records 11", "hyperion_vault_audit_pending_bytes 12", "hyperion_vault_audit_max_pending_bytes 13",
		"hyperion_vault_audit_oldest_pending_timestamp_seconds 2.5", "hyperion_vault_audit_recorded_total 14",
		"hyperion_vault_audit_refused_total 15", "hyperion_vault_audit_shipped_total 16",
		"hyperion_vault_audit_leased_total 44", "hyperion_vault_audit_leased_waiting_bytes 45", "hyperion_vault_audit_leased_damaged_total 46",
		"hyperion_vault_audit_last_shipped_timestamp_seconds 3.5", `hyperion_vault_audit_ship_failing{class="unavailable"} 1`,
		"hyperion_vault_pg_in_recovery 1", "hyperion_vault_pg_reader_home 1", "hyperion_vault_pg_primary_answers 1",
		"hyperion_vault_rotations_due 21", "hyperion_vault_rotations_overdue_seconds 22", "hyperion_vault_rotations_claimed 23",
		"hyperion_vault_rotations_failing 24", "hyperion_vault_rotations_missed 25", "hyperion_vault_rotations_unplanned 26", "hyperion_vault_roles_bound 28", "hyperion_vault_roles_differing 29",
		"hyperion_vault_roles_former_sessions 30", "hyperion_vault_leases 31", "hyperion_vault_leases_due 32", "hyperion_vault_leases_failing 33",
		"hyperion_vault_events_held_seconds 27", "hyperion_vault_supervisor_last_pass_timestamp_seconds 4.5",
		`hyperion_vault_condition{condition="not-preloaded",severity="degraded"} 1`, `hyperion_vault_condition{condition="key-mismatch",severity=""} 0`,
		`hyperion_vault_condition_since_timestamp_seconds{condition="not-preloaded"} 5.5`,
		`hyperion_vault_rotations_waiting{reason="not_claimed"} 3`, `hyperion_vault_rotations_waiting{reason="paused"} 0`,
		"hyperion_vault_pg_replication_lag_bytes 4096", "hyperion_vault_pg_replication_lag_seconds 1.5",
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, "a/secret/name") {
		t.Error("a name is shown to any client")
	}
	if w.Code != 200 || !strings.Contains(body, "go_goroutines ") {
		t.Errorf("%d, or nothing of the runtime", w.Code)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []prometheus.Collector{keys{stats}, audit{journal}, replication{standby}, rotations{counts}, conditions{holding}, logins{sources(standby).Logins}, process{sources(standby).Pools, "9.9", counts, nil}, NewRequests().total, NewRequests().seconds} {
		problems, err := testutil.CollectAndLint(c)
		if err != nil || len(problems) != 0 {
			t.Errorf("%v %v", problems, err)
		}
	}
}

func TestReplicationUnknown(t *testing.T) {
	for want, ask := range map[string]func(context.Context) (vault.Replication, error){
		"hyperion_vault_pg_primary_answers 0": func(context.Context) (vault.Replication, error) {
			return vault.Replication{LagBytes: 1}, nil
		},
		`hyperion_vault_pg_error{code="unavailable"} 1`: func(context.Context) (vault.Replication, error) {
			return vault.Replication{}, core.Errorf(core.Unavailable, "away")
		},
	} {
		w := httptest.NewRecorder()
		Handler(sources(ask)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, want+"\n") || strings.Contains(body, "replication_lag") {
			t.Errorf("%d, want %s: %s", w.Code, want, body)
		}
	}
}

// TestLabelsAreBounded: what a client sends makes no time series without end.
func TestLabelsAreBounded(t *testing.T) {
	r := NewRequests()
	for i := range 1000 {
		r.Begin()
		r.End(fmt.Sprintf("M%d", i), "", 404, time.Millisecond)
	}
	if n := testutil.CollectAndCount(r.total); n != 1 {
		t.Errorf("%d series", n)
	}
	if got := testutil.ToFloat64(r.total.WithLabelValues("other", "none", "404")); got != 1000 {
		t.Errorf("counted %v", got)
	}
	if got := testutil.ToFloat64(r.inFlight); got != 0 {
		t.Errorf("%v in flight", got)
	}
}
