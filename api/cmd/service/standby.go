package service

import (
	"context"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
)

// sessionsEvery is how often the node counts sessions on its standby for roles that retire. Shorter than the ten
// seconds and four intervals of the supervisor for which a report holds, so that one or two may fail.
const sessionsEvery = 5 * time.Second

// reportSessions tells the primary of sessions on the standby, until ctx ends. It logs why it cannot once.
func (s *Service) reportSessions(ctx context.Context) {
	said := ""
	for backoff.Sleep(ctx, sessionsEvery) {
		text := ""
		if err := s.db.ReportSessions(ctx, s.cfg.NodeName); err != nil && ctx.Err() == nil {
			text = err.Error()
		}
		if text != "" && text != said {
			s.log.Warn("the primary cannot be told which sessions retiring roles have on this node", "cause", text)
		}
		said = text
	}
}
