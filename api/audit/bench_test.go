package audit

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// BenchmarkRecord writes into a directory below TMPDIR, so on its disk. waiting is how many requests are under way at once.
func BenchmarkRecord(b *testing.B) {
	e := vault.Entry{
		Origin: vault.Origin{Node: "node1", Actor: "reader", ClientIP: netip.MustParseAddr("192.0.2.7"), RequestID: "f98bafc00f90d0ad47306727f307a0f5"},
		Action: vault.ActionRead, Name: "db/password", Version: 3, Outcome: vault.OutcomeOK,
	}
	for _, always := range []bool{false, true} {
		for _, waiting := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("always=%v/waiting=%d", always, waiting), func(b *testing.B) {
				j, err := Open(Config{Dir: filepath.Join(b.TempDir(), "audit"), Always: always, MaxBytes: 1 << 40, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = j.Close() })
				work := make(chan struct{}, 1024)
				var all sync.WaitGroup
				for range waiting {
					all.Go(func() {
						for range work {
							if err := j.Record(context.Background(), e); err != nil {
								b.Error(err)
							}
						}
					})
				}
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					work <- struct{}{}
				}
				close(work)
				all.Wait()
			})
		}
	}
}

// BenchmarkParseLine is what the shipper does with each record.
func BenchmarkParseLine(b *testing.B) {
	l := line(7, fullEntry())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseLine(l); err != nil {
			b.Fatal(err)
		}
	}
}
