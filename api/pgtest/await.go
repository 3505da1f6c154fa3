package pgtest

import (
	"testing"
	"time"
)

// Patience bounds every wait for something that should happen soon. It is for machines that are busy with other things.
const Patience = time.Minute

// tick is between two questions.
const tick = 10 * time.Millisecond

// Eventually asks until the answer is yes. It fails the test after Patience.
func Eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	next := time.NewTicker(tick)
	defer next.Stop()
	for !happened() {
		select {
		case <-next.C:
		case <-limit.C:
			t.Fatalf("not within %s: %s", Patience, what)
		}
	}
}

// Must fails the test at once if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
