package service

import (
	"context"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// watchAway is how often a part that is missing is looked for, watchReady how often readiness is checked again.
	watchAway  = time.Second
	watchReady = 5 * time.Second
	// watchLimit bounds one look, so that the first line about a missing part comes soon after the start.
	watchLimit = 3 * time.Second
)

// watch tells the log when the service becomes ready and when it ceases to be: once for each change, not for each try.
func (s *Service) watch(ctx context.Context) {
	state := "unknown"
	for {
		checks := s.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if now := stateOf(checks); now != state {
			s.logState(checks, now)
			state = now
		}
		wait := watchAway
		if state == "" {
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

func (s *Service) check(ctx context.Context) []vault.Check {
	ctx, cancel := context.WithTimeout(ctx, min(watchLimit, s.cfg.RequestTimeout))
	defer cancel()
	return s.door.Ready(ctx)
}

// stateOf is "" when all is well, else which checks fail and with which code: what makes two states the same.
func stateOf(checks []vault.Check) string {
	var failing []string
	for _, c := range checks {
		if c.Err != nil {
			failing = append(failing, c.Name+"="+string(core.CodeOf(c.Err)))
		}
	}
	return strings.Join(failing, " ")
}

func (s *Service) logState(checks []vault.Check, state string) {
	if state == "" {
		s.log.Info("ready", "listen", s.Addr(), "agent_socket", s.cfg.Agent.Socket)
		return
	}
	var causes []string
	for _, c := range checks {
		if c.Err != nil {
			causes = append(causes, c.Name+": "+c.Err.Error())
		}
	}
	s.log.Warn("not ready, trying again", "failing", state, "error", strings.Join(causes, "; "))
}
