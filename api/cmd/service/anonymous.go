package service

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
)

// anonymousPoll is how long the start waits before it asks again for what the database did not answer.
const anonymousPoll = 5 * time.Second

// anonymousWarning is what the status says while callers without a token may read every secret; nil where only this
// system reaches the API, or they may not read at all.
func (s *Service) anonymousWarning() *httpapi.Warning {
	reached := s.cfg.BeyondLoopback()
	if len(reached) == 0 || !s.door.AnonymousOn() {
		return nil
	}
	return &httpapi.Warning{
		Code: "anonymous_reads",
		Detail: "callers without a token may read every secret from every address in VAULT_ALLOWED_IPS, and " + reached[0].HostPort +
			" is reached from beyond loopback: set VAULT_ANONYMOUS_READ=off, or run SELECT vault.revoke_access('vault_anonymous', '*', '{read,verify}');",
	}
}

// warnAnonymous logs that warning once, as soon as the database says that it holds.
func (s *Service) warnAnonymous(ctx context.Context) {
	for {
		status, err := s.db.Counts(ctx)
		if err == nil {
			if w := s.anonymousWarning(); w != nil && status.AnonymousReadsAll {
				s.log.Warn("callers without a token may read every secret", "code", w.Code, "detail", w.Detail)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(anonymousPoll):
		}
	}
}
