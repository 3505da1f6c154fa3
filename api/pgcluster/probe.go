package pgcluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
)

const (
	// suspicion is how long a server may be silent before a probe checks whether it answers at all.
	suspicion = time.Second
	// probeTimeout bounds that look, which is a connection of its own.
	probeTimeout = time.Second
	// homeInterval is how often a reader that had to fall back checks whether a better host is there again.
	homeInterval = time.Second
	// catchUp is how long a reader that comes home waits for the server to replay what has been shown meanwhile.
	catchUp = 500 * time.Millisecond
	// surveyInterval is how often a writer that is in use checks the other hosts.
	surveyInterval = 5 * time.Second
)

// probe connects to one host and hangs up. coming asks also whether reads may go there from a worse host.
func (p *Pool) probe(x *Host, coming bool) error {
	ctx, cancel := context.WithTimeout(p.background, probeTimeout)
	defer cancel()
	config := x.conn.Copy().Config
	l := &connState{host: x}
	config.DialFunc = l.dial
	if p.Writer {
		config.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
			_, err := p.checkPrimary(ctx, pc, "")
			p.hosts.noteRefusal(x, err)
			return err
		}
	}
	if coming {
		config.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error { return p.checkReader(ctx, x, pc, false) }
	}
	c, err := pgconn.ConnectConfig(ctx, &config)
	if err != nil {
		return err
	}
	l.noteConnected()
	defer l.cut()
	return c.Close(ctx)
}

// answers reports whether a host answers at all. A refusal is an answer too.
func (p *Pool) answers(x *Host) bool {
	x.probing.Lock()
	defer x.probing.Unlock()
	startedAt := time.Now()
	answered, failed := p.hosts.lastSeen(x)
	if startedAt.Sub(answered) < suspicion/2 {
		return true
	}
	if failed.After(answered) && startedAt.Sub(failed) < suspicion/2 {
		return false
	}
	err := p.probe(x, false)
	if _, refused := errors.AsType[*pgconn.PgError](err); err == nil || refused {
		p.hosts.noteAnswer(x)
		return true
	}
	p.hosts.noteFailure(x, startedAt, true)
	return false
}

// survey checks whether one of the other hosts is a primary, of a newer timeline perhaps. It does so at most once in a
// while, however many callers ask.
func (p *Pool) survey(known *Host) {
	p.surveying.Lock()
	defer p.surveying.Unlock()
	if time.Since(p.surveyedAt) < suspicion {
		return
	}
	var all sync.WaitGroup
	for _, x := range p.hosts.all {
		if x != known {
			all.Go(func() { _ = p.probe(x, false) }) // what it is, is noted
		}
	}
	all.Wait()
	p.surveyedAt = time.Now()
}

// surveySoon starts a survey in the background when it is time: a server that was cut off and knows nothing of a
// new primary answers reads quickly, so silence does not give it away.
func (p *Pool) surveySoon(known *Host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.hosts.all) == 1 || time.Since(p.surveySoonAt) < surveyInterval {
		return
	}
	p.surveySoonAt = time.Now()
	p.work.Go(func() { p.survey(known) })
}

// startComingHome starts looking for a better host when a reader is connected to another than the first, or reads have
// gone back.
func (p *Pool) startComingHome(x *Host) {
	if p.Writer || x.Index == 0 && !p.wentBack() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.returning {
		return
	}
	p.returning = true
	p.work.Go(p.returnToPreferred)
}

// returnToPreferred retries until the reader is at the first host again, and that shows what has been shown.
func (p *Pool) returnToPreferred() {
	for backoff.Sleep(p.background, homeInterval) {
		for _, x := range p.betterHosts() {
			err := p.probe(x, true)
			p.hosts.noteComing(x, err)
			if err == nil {
				p.hosts.expectReads(x)
				p.hosts.noteConnected(x)
				p.Reset()
				break
			}
		}
		back := p.wentBack()
		p.mu.Lock()
		if x := p.hosts.current(); x == nil || x.Index == 0 && !back {
			p.returning = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// betterHosts returns the hosts that the settings name before the one that reads go to; all others while reads have gone back.
func (p *Pool) betterHosts() []*Host {
	at, back := p.hosts.current(), p.wentBack()
	var out []*Host
	for _, x := range p.hosts.all {
		if at != nil && (x.Index < at.Index || back && x != at) {
			out = append(out, x)
		}
	}
	return out
}
