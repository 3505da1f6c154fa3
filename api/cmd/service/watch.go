package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	// watchAway is how often a part that is missing is looked for, watchReady how often readiness is checked again.
	watchAway  = time.Second
	watchReady = 5 * time.Second
	// watchLimit bounds one look, so that the first line about a missing part comes soon after the start.
	watchLimit = 3 * time.Second
)

// watch tells the log when the service becomes ready and when it ceases to be: once for each change, not for each try.
// Which part is missing may alternate while PostgreSQL comes up; that is no change.
func (s *Service) watch(ctx context.Context) {
	for known, wasReady := false, false; ; known = true {
		missing := s.missing(ctx)
		if ctx.Err() != nil {
			return
		}
		ready := len(missing) == 0
		if !known || ready != wasReady {
			s.logReadiness(missing)
		}
		wasReady = ready
		wait := watchAway
		if ready {
			wait = watchReady
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// missing returns the checks that fail.
func (s *Service) missing(ctx context.Context) []vault.Check {
	ctx, cancel := context.WithTimeout(ctx, min(watchLimit, s.cfg.RequestTimeout))
	defer cancel()
	return slices.DeleteFunc(s.door.Ready(ctx), func(c vault.Check) bool { return c.Err == nil })
}

func (s *Service) logReadiness(missing []vault.Check) {
	if len(missing) == 0 {
		s.notify.status("ready")
		s.log.Info("ready", "listen", s.listening(), "agent_socket", s.cfg.Agent.Socket)
		return
	}
	var names, causes []string
	for _, c := range missing {
		name := c.Name
		if c.Degraded {
			name += " (degraded: what was read before can still be read)"
		}
		names = append(names, name)
		causes = append(causes, c.Name+": "+c.Err.Error())
	}
	s.notify.status("not ready, trying again: " + strings.Join(names, ", "))
	s.log.Warn("not ready, trying again", "missing", strings.Join(names, " "), "error", strings.Join(causes, "; "))
}
