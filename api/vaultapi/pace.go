package vaultapi

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// An agent whose token has nearly reached its longest life looks the token up and renews it without a pause, more than a
	// thousand times a second. Agents that share a token rarely need more than this.
	selfRate, selfBurst = 10, 100
	// paceMemory: a bucket that was not used for so long is full again, so it can be forgotten.
	paceMemory = selfBurst / selfRate * time.Second
	maxPaced   = 16 << 10
)

// pace bounds how often each token asks about itself. Safe for concurrent use; the zero value is ready.
type pace struct {
	mu          sync.Mutex
	now, before map[[32]byte]*rate.Limiter // two generations, so that forgetting is cheap
	turned      time.Time
}

func (p *pace) allow(key [32]byte, at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := at.Sub(p.turned); p.now == nil || age >= paceMemory || age < 0 {
		p.before, p.now, p.turned = p.now, map[[32]byte]*rate.Limiter{}, at
	}
	l := p.now[key]
	if l == nil {
		if l = p.before[key]; l == nil {
			l = rate.NewLimiter(selfRate, selfBurst)
		}
		if len(p.now) < maxPaced { // tokens beyond are not bounded here; those that are not valid are rationed by the door
			p.now[key] = l
		}
	}
	return l.AllowN(at, 1)
}

// paced refuses a request of a token that asks about itself too often.
func (a *API) paced(r *request) error {
	if r.Caller.Bearer == "" || a.pace.allow(sha256.Sum256([]byte(r.Caller.Bearer)), a.clock()) {
		return nil
	}
	r.Writer.Header().Set("Retry-After", "1")
	return a.reject(r, failure(http.StatusTooManyRequests, core.TooMany, "this token asks about itself too often"))
}
