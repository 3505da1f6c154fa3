package hvsql_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/hvsql"
)

// skewedVault is a vault whose clock differs from that of its clients. Its leases last for 2 seconds, and for 10 hours when renewed.
type skewedVault struct {
	ahead           time.Duration
	issued, renewed atomic.Int64
	issuedAt        atomic.Pointer[time.Time] // of the last one
}

func (v *skewedVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now().Add(v.ahead).Round(0)
	if strings.HasSuffix(r.URL.Path, "/renew") {
		v.renewed.Add(1)
	} else {
		v.issued.Add(1)
		v.issuedAt.Store(&now)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(client.Lease{
		ID: "lease", Username: "leased", Password: "password", TTLSecs: 2, IssuedAt: *v.issuedAt.Load(), ExpiresAt: now.Add(2 * time.Second),
		MaxExpiresAt: v.issuedAt.Load().Add(10 * time.Hour),
	})
}

// TestLeaseByAnotherClock: a lease is renewed in time and used, and no other one is issued, however the clocks differ.
func TestLeaseByAnotherClock(t *testing.T) {
	for _, ahead := range []time.Duration{-5 * time.Hour, 0, 5 * time.Hour, 20 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			v := &skewedVault{ahead: ahead}
			s := httptest.NewServer(v)
			t.Cleanup(s.Close)
			c, err := client.New(client.Config{Address: s.URL, Token: "token"})
			pgtest.Must(t, err)
			t.Cleanup(c.Close)
			f, err := hvsql.NewFollower(t.Context(), hvsql.Lease(c, "app/reader"))
			pgtest.Must(t, err)
			t.Cleanup(f.Close)
			for range 3 {
				before := v.renewed.Load()
				pgtest.Eventually(t, "the lease is renewed", func() bool { return v.renewed.Load() > before })
				if _, err := f.Valid(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if n := v.issued.Load(); n != 1 {
				t.Errorf("%d leases were issued", n)
			}
		})
	}
}
