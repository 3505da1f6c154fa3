package vault_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestRepeats: 601 failures in ten minutes are a line each minute, none is left uncounted, and others are not its matter.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var r vault.Repeats
		if r.Take(log, errors.New("other"), "x") {
			t.Error("takes what is another failure")
		}
		full := core.Wrap(core.Unavailable, vault.ErrJournalFull, "full")
		for range 601 {
			if !r.Take(log, full, "id-1") {
				t.Error("not taken")
			}
			time.Sleep(time.Second - time.Microsecond)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 11 || !strings.Contains(lines[0], "id-1") || !strings.Contains(lines[1], "requests=60 ") {
			t.Errorf("%d lines:\n%s", len(lines), out.String())
		}
		out.Reset()
		r.Take(log, full, "id-2")
		if !strings.Contains(out.String(), "id-2") {
			t.Errorf("the next time is not told: %q", out.String())
		}
		time.Sleep(2 * time.Minute)
	})
}
