package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	// watchAway is the pause between checks while a part is missing, and watchReady the pause while none is.
	watchAway  = time.Second
	watchReady = 5 * time.Second
	// watchLimit bounds one check, so that the first line about a missing part comes soon after the start.
	watchLimit = 3 * time.Second
)

// watch logs when the service becomes ready and when it ceases to be, and each condition when it begins and ends. It
// logs a change once, not each try. Which part is missing may alternate while PostgreSQL comes up; that is no change.
func (s *Service) watch(ctx context.Context) {
	var holds map[string]vault.Condition
	for known, wasReady := false, false; ; known = true {
		missing := s.missing(ctx)
		if ctx.Err() != nil {
			return
		}
		ready := len(missing) == 0
		if !known || ready != wasReady {
			s.logReadiness(missing)
		}
		holds = s.logConditions(ctx, holds)
		wasReady = ready
		wait := watchAway
		if ready {
			wait = watchReady
		}
		if !backoff.Sleep(ctx, wait) {
			return
		}
	}
}

// missing returns the checks that fail for another reason than a condition, which has a line of its own.
func (s *Service) missing(ctx context.Context) []vault.Check {
	ctx, cancel := context.WithTimeout(ctx, min(watchLimit, s.cfg.RequestTimeout))
	defer cancel()
	return slices.DeleteFunc(s.door.Ready(ctx), func(c vault.Check) bool { return c.Err == nil || c.Degraded && len(c.Conditions) > 0 })
}

// logConditions logs which conditions have started or ended since before, and returns those that hold.
func (s *Service) logConditions(ctx context.Context, before map[string]vault.Condition) map[string]vault.Condition {
	ctx, cancel := context.WithTimeout(ctx, min(watchLimit, s.cfg.RequestTimeout))
	defer cancel()
	holds := map[string]vault.Condition{}
	for _, c := range s.door.Conditions(ctx) {
		holds[c.Name] = c
		if _, known := before[c.Name]; !known {
			s.log.Warn("condition began", "condition", c.Name, "severity", string(c.Severity), "reason", c.Reason,
				"since", c.Since.UTC(), "help", "docs/OPERATIONS.md#"+c.Name)
		}
	}
	for name := range before {
		if _, still := holds[name]; !still {
			s.log.Info("condition ended", "condition", name)
		}
	}
	return holds
}

// stillWorks says what goes on while a part is degraded.
var stillWorks = map[string]string{
	"keys": "what was read before can still be read", "writer": "reads go on, changes wait",
	"journal": "requests that succeed go on", "supervisor": "reads and changes go on",
}

func (s *Service) logReadiness(missing []vault.Check) {
	if len(missing) == 0 {
		s.notify.status("ready")
		s.log.Info("ready", "listen", s.listening(), "agent_socket", s.cfg.Agent.Socket)
		return
	}
	var names, causes []string
	message := "degraded, trying again"
	for _, c := range missing {
		name := c.Name
		if c.Degraded {
			name += " (degraded: " + stillWorks[c.Name] + ")"
		} else {
			message = "not ready, trying again"
		}
		names = append(names, name)
		causes = append(causes, c.Name+": "+c.Err.Error())
	}
	s.notify.status(message + ": " + strings.Join(names, ", "))
	s.log.Warn(message, "missing", strings.Join(names, " "), "error", strings.Join(causes, "; "))
}
