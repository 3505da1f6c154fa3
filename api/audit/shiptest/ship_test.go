// Package shiptest shows on a real PostgreSQL with the real API that shipping audit records does not hold up changes and
// reads.
package shiptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/store"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(vaulttest.Main(m, vaulttest.Options{})) }

// client changes and reads one secret over REST.
type client struct {
	api  *vaulttest.Server
	http *http.Client
}

func newClient(t testing.TB, db *vaulttest.DB) *client {
	t.Helper()
	c := &client{api: vaulttest.NewServer(t, db, "VAULT_LOG_LEVEL=error"), http: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(c.http.CloseIdleConnections)
	c.api.MustCreate(t, "a", "0")
	return c
}

func (c *client) change(ctx context.Context) error {
	return c.do(ctx, http.MethodPut, `{"value":"x"}`)
}

func (c *client) read(ctx context.Context) error { return c.do(ctx, http.MethodGet, "") }

func (c *client) do(ctx context.Context, method, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, c.api.URL+"/v1/secrets/a", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + c.api.AdminToken}, "Content-Type": {"application/json"}, "If-Match": {"*"}}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", method, resp.Status, answer)
	}
	return err
}

// TestShippersHang: one shipper's transaction stays open in the middle, and holds up every other shipper. Changes and
// reads go on; what they leave in the journal arrives when the transaction ends.
func TestShippersHang(t *testing.T) {
	db := vaulttest.NewDB(t)
	c := newClient(t, db)
	c.api.AwaitAudit(t)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, db.SuperuserDSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{
		"BEGIN",
		`SELECT vault.ship_audit(gen_random_uuid(), 'other', 1, ARRAY[now()], ARRAY['other'], ARRAY['reader'], ARRAY[NULL], ARRAY[NULL]::inet[],
			ARRAY['read'], ARRAY['a'], ARRAY[1], ARRAY['ok'], ARRAY[''], ARRAY[NULL])`,
		"LOCK TABLE vault.audit_journals IN ACCESS EXCLUSIVE MODE",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	c.api.MustRead(t, "a")
	db.Await(t, "the API's shipper waits for the other", `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE usename = 'vault_service' AND wait_event_type = 'Lock' AND datname = current_database())`)
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for n := range 20 {
		if err := errors.Join(c.change(bounded), c.read(bounded)); err != nil {
			t.Fatalf("change and read %d: %v", n, err)
		}
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	c.api.AwaitAudit(t)
}

// backlog starts a shipper for each of three nodes with so many records that have not arrived, and returns how many are left.
func backlog(b *testing.B, db *vaulttest.DB, records int) (left func() uint64) {
	b.Helper()
	cfg, err := pgx.ParseConfig(db.ServiceDSN)
	if err != nil {
		b.Fatal(err)
	}
	d, err := store.Open(b.Context(), store.Config{Hosts: []string{cfg.Host}, Port: int(cfg.Port), User: cfg.User, Database: cfg.Database})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close(context.Background()) })
	var all []*audit.Journal
	for n := range 3 {
		node := fmt.Sprintf("node%d", n+1)
		j := filled(b, node, records/3)
		s := audit.StartShipper(audit.ShipperConfig{Journal: j, Connect: d.OpenJournal, Node: node})
		b.Cleanup(func() {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_ = s.Close(ended) // what is left stays
			_ = j.Close()
		})
		all = append(all, j)
	}
	return func() (n uint64) {
		for _, j := range all {
			n += j.AuditState().Pending
		}
		return n
	}
}

func filled(b *testing.B, node string, records int) *audit.Journal {
	b.Helper()
	j, err := audit.Open(audit.Config{Dir: filepath.Join(b.TempDir(), node), MaxBytes: 1 << 40, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	many := slices.Repeat([]vault.Entry{{
		Origin: vault.Origin{Node: node, Actor: "reader", RequestID: "f98bafc00f90d0ad47306727f307a0f5"},
		Action: vault.ActionRead, Name: "db/password", Version: 3, Outcome: vault.OutcomeOK,
	}}, 1000)
	for range records / len(many) {
		if err := j.Record(b.Context(), many...); err != nil {
			b.Fatal(err)
		}
	}
	return j
}

// BenchmarkChange is the time of a change over REST, alone and while three nodes ship a backlog as fast as they can to
// the same primary. Of the second the ratio of the medians is printed as well.
func BenchmarkChange(b *testing.B) {
	db := vaulttest.NewDB(b)
	c := newClient(b, db)
	var alone time.Duration
	b.Run("alone", func(b *testing.B) { alone = measure(b, c) })
	b.Run("shipping", func(b *testing.B) {
		left := backlog(b, db, 600_000)
		before, startedAt := left(), time.Now()
		median := measure(b, c)
		if left() == 0 {
			b.Fatal("the backlog ended before the changes")
		}
		b.ReportMetric(float64(median)/float64(alone), "x-alone")
		b.ReportMetric(float64(before-left())/time.Since(startedAt).Seconds(), "shipped/s")
	})
}

// measure reports and returns the median.
func measure(b *testing.B, c *client) time.Duration {
	var all []time.Duration
	for b.Loop() {
		startedAt := time.Now()
		if err := c.change(b.Context()); err != nil {
			b.Fatal(err)
		}
		all = append(all, time.Since(startedAt))
	}
	slices.Sort(all)
	median := all[len(all)/2]
	b.ReportMetric(float64(median.Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "ms-p99")
	return median
}
