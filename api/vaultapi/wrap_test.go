package vaultapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

func TestWrapTTL(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, " ": 0, "0": 0, "0s": 0, "0h0m0s": 0, "60": time.Minute, "60s": time.Minute, "1m0s": time.Minute, "1d": 24 * time.Hour, " 5s ": 5 * time.Second,
	} {
		if got, err := wrapTTL(http.Header{headerWrapTTL: {text}}); err != nil || got != want {
			t.Errorf("%q: %s %v", text, got, err)
		}
	}
	for _, values := range [][]string{{"x"}, {"-1s"}, {"-60"}, {"500ms"}, {"0.5"}, {"1ns"}, {"60s", "60s"}, {"0", "60s"}, {`"60s"`}, {"true"}, {"NaN"}, {"1e300"}, {strings.Repeat("1", 99)}} {
		if got, err := wrapTTL(http.Header{headerWrapTTL: values}); core.CodeOf(err) != core.Invalid {
			t.Errorf("%q: %s %v: the client would get in the clear what it wants wrapped", values, got, err)
		}
	}
}

func FuzzWrapTTL(f *testing.F) {
	for _, s := range []string{"", "0", "60s", "1h30m", "0.9", "1e-9", "0x0p0", "\"0\"", "0ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := wrapTTL(http.Header{headerWrapTTL: {text}})
		if err != nil {
			if core.CodeOf(err) != core.Invalid {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if got < 0 || got == 0 && strings.Trim(strings.TrimSpace(text), "0hms") != "" {
			t.Errorf("%q means %s", text, got)
		}
	})
}
