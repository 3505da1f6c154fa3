package service

import "testing"

func TestConnectionsWithinTheLimitOfFiles(t *testing.T) {
	for files, want := range map[uint64]int{64: 32, 256: 128, 1024: 512, 4096: 3584, 4608: 4096, 20_000: 4096, 1<<64 - 1: 4096} {
		if got := connsWithin(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
