package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// suspicion is how long a server may be silent before somebody looks whether it answers at all.
	suspicion = time.Second
	// probeTimeout bounds that look, which is a connection of its own.
	probeTimeout = time.Second
	// homeEvery is how often a reader that had to fall back looks whether a better host is there again.
	homeEvery = time.Second
	// catchUp is how long a reader that comes home waits for the server to replay what has been shown meanwhile.
	catchUp = 500 * time.Millisecond
	// surveyEvery is how often a writer that is in use looks at the other hosts.
	surveyEvery = 5 * time.Second
)

// probe connects to one host and hangs up. coming asks also whether reads may go there from a worse host.
func (p *pool) probe(x *host, coming bool) error {
	ctx, cancel := context.WithTimeout(p.life, probeTimeout)
	defer cancel()
	config := x.conn.Copy().Config
	l := &link{host: x}
	config.DialFunc = l.dial
	if p.writer {
		config.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
			_, err := p.standing(ctx, pc, "")
			p.hosts.noteRefusal(x, err)
			return err
		}
	}
	if coming {
		config.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error { return p.welcome(ctx, x, pc, false) }
	}
	c, err := pgconn.ConnectConfig(ctx, &config)
	if err != nil {
		return err
	}
	l.connected()
	defer l.cut()
	return c.Close(ctx)
}

// answers tells whether a host answers anybody. A refusal is an answer too.
func (p *pool) answers(x *host) bool {
	x.probing.Lock()
	defer x.probing.Unlock()
	begun := time.Now()
	answered, failed := p.hosts.since(x)
	if begun.Sub(answered) < suspicion/2 {
		return true
	}
	if failed.After(answered) && begun.Sub(failed) < suspicion/2 {
		return false
	}
	err := p.probe(x, false)
	if _, refused := errors.AsType[*pgconn.PgError](err); err == nil || refused {
		p.hosts.heard(x)
		return true
	}
	p.hosts.fail(x, begun, true)
	return false
}

// survey looks whether one of the other hosts is a primary, of a newer timeline perhaps. It does so at most once in a
// while, whoever asks.
func (p *pool) survey(known *host) {
	p.looking.Lock()
	defer p.looking.Unlock()
	if time.Since(p.looked) < suspicion {
		return
	}
	var all sync.WaitGroup
	for _, x := range p.hosts.all {
		if x != known {
			all.Go(func() { _ = p.probe(x, false) }) // what it is, is noted
		}
	}
	all.Wait()
	p.looked = time.Now()
}

// surveySoon has somebody survey, in the background, when it is time: a server that was cut off and knows nothing of a
// new primary answers reads quickly, so silence does not give it away.
func (p *pool) surveySoon(known *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.hosts.all) == 1 || time.Since(p.begunAt) < surveyEvery {
		return
	}
	p.begunAt = time.Now()
	p.work.Go(func() { p.survey(known) })
}

// lookHome starts looking for a better host when a reader is connected to another than the first, or reads have gone back.
func (p *pool) lookHome(x *host) {
	if p.writer || x.index == 0 && !p.wentBack() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.away {
		return
	}
	p.away = true
	p.work.Go(p.comeHome)
}

// comeHome looks until the reader is at the first host again, and that shows what has been shown.
func (p *pool) comeHome() {
	for wait(p.life, homeEvery) {
		for _, x := range p.better() {
			if p.probe(x, true) == nil {
				p.hosts.expect(x)
				p.hosts.connected(x)
				p.Reset()
				break
			}
		}
		back := p.wentBack()
		p.mu.Lock()
		if x := p.hosts.current(); x == nil || x.index == 0 && !back {
			p.away = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// better returns the hosts that the settings name before the one that reads go to; all others while reads have gone back.
func (p *pool) better() []*host {
	at, back := p.hosts.current(), p.wentBack()
	var out []*host
	for _, x := range p.hosts.all {
		if at != nil && (x.index < at.index || back && x != at) {
			out = append(out, x)
		}
	}
	return out
}
