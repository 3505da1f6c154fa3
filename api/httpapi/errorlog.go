package httpapi

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// errorLog is what net/http has to say beside the answers. A handshake that fails is the client's affair, and any client
// can cause many, as a load balancer's check of the port does every few seconds; all else is a warning.
type errorLog struct{ log *slog.Logger }

func newErrorLog(l *slog.Logger) *log.Logger { return log.New(errorLog{l}, "", 0) }

func (e errorLog) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	e.log.Log(context.Background(), level, string(bytes.TrimRight(line, "\n")))
	return len(line), nil
}
