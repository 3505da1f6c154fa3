package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// probeWriteEvery is the least time between two writes that only find out whether changes can be made again.
const probeWriteEvery = 2 * time.Second

// lastChange is why the primary refused the last change, where the reason is the server's and not the change's: a full
// disk answers every question of readiness and refuses every change. The zero value is that it did not.
type lastChange struct {
	mu     sync.Mutex
	err    error
	since  time.Time // when changes began to fail so
	probed time.Time
}

// ofServer reports whether a server refuses every change that refuses one with err.
func ofServer(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch {
	case strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "58"), pg.Code == stateReadOnly:
		return true
	}
	return pg.Code == "XX000" && pg.SeverityUnlocalized != "ERROR"
}

// note keeps how a change ended. Errors that are about the change, or that no server sent, say nothing.
func (l *lastChange) note(d *DB, err error) {
	if err != nil && !ofServer(err) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.err == nil {
		l.since = time.Now()
	}
	l.err = d.classify(err)
}

func (l *lastChange) get() (since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, l.err
}

// due reports whether it is time for a write that finds out whether changes can be made again.
func (l *lastChange) due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil || time.Since(l.probed) < probeWriteEvery {
		return false
	}
	l.probed = time.Now()
	return true
}

// checkChanges returns why the last change failed, as long as changes do. Only then, and rarely, it writes: rows that
// vault.probe_write() takes back itself.
func (d *DB) checkChanges(ctx context.Context) error {
	if d.lastChange.due() {
		ctx, cancel := context.WithTimeout(ctx, d.bound)
		defer cancel()
		err := d.writer.Run(ctx, func(c *pgx.Conn) error {
			_, err := c.Exec(context.WithoutCancel(ctx), "SELECT vault.probe_write()")
			return err
		})
		d.lastChange.note(d, err)
	}
	_, err := d.lastChange.get()
	return err
}
