package main

import (
	"io"
	"log/slog"
	"strings"
)

const redacted = "REDACTED"

// deniedKeys are attributes that would hold something secret. No code logs them; this is the second line of defence.
var deniedKeys = map[string]bool{
	"password": true, "passwd": true, "authorization": true, "bearer": true, "cookie": true, "token": true,
	"admin_token": true, "master_key": true, "dek": true, "key": true, "keys": true, "plain": true, "plaintext": true,
	"value": true, "candidate": true, "body": true, "dsn": true,
}

// newLogger writes JSON lines to w from level on.
func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redact}))
}

// redact replaces attributes of denied names, and texts in which an admin token stands.
func redact(_ []string, a slog.Attr) slog.Attr {
	if deniedKeys[strings.ToLower(a.Key)] {
		return slog.String(a.Key, redacted)
	}
	switch v := a.Value.Any().(type) {
	case string:
		if strings.Contains(v, "hvt_") {
			return slog.String(a.Key, redacted)
		}
	case error:
		if strings.Contains(v.Error(), "hvt_") {
			return slog.String(a.Key, redacted)
		}
	}
	return a
}
