package httpapi

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestErrorLog(t *testing.T) {
	var b bytes.Buffer
	l := newErrorLog(slog.New(slog.NewTextHandler(&b, nil)))
	l.Printf("http: TLS handshake error from 10.0.0.1:1: EOF")
	if b.Len() != 0 {
		t.Errorf("logged: %s", b.String())
	}
	l.Printf("http: Accept error: %v", "too many open files")
	if got := b.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "too many open files") {
		t.Errorf("logged: %q", got)
	}
}
