package audit

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/backoff"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// linger is the least time between two transactions, unless a batch is full.
	linger = 200 * time.Millisecond
	// restShare is how many times as long as a full batch took the Shipper pauses before the next one.
	restShare = 3
	// askInterval is how often a Shipper with nothing to ship queries whether the primary still has everything. After a
	// failover it may not.
	askInterval = 15 * time.Second
	// callTimeout bounds one call of the primary.
	callTimeout = 30 * time.Second
	// The Shipper searches for a lost primary after pauses that double. Each pause is cut by up to half at random, so
	// that nodes do not come all at once.
	firstPause = 200 * time.Millisecond
	longPause  = 10 * time.Second
)

// ShipperConfig is the configuration of a Shipper. Journal, Connect and Node are required.
type ShipperConfig struct {
	Journal *Journal
	// Connect returns a new connection to the primary for the Shipper alone. The Shipper closes it. It is called from
	// one goroutine, and its context ends after 30 s.
	Connect func(ctx context.Context) (vault.JournalLink, error)
	Node    string
	Log     *slog.Logger // nil = slog.Default()
}

// Shipper carries each of a journal's records to the primary once, from one goroutine.
type Shipper struct {
	c       ShipperConfig
	closing chan struct{} // no more records come: ship what is there
	cut     context.CancelFunc
	once    sync.Once
	done    chan struct{}

	link    vault.JournalLink // nil = none
	failing string            // the last failure that the log has heard of, by class and cause; "" = none
	sentAt  time.Time         // of the last batch
}

// StartShipper starts to ship in the background. The caller calls Close.
func StartShipper(c ShipperConfig) *Shipper {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Shipper{c: c, closing: make(chan struct{}), cut: cancel, done: make(chan struct{})}
	go s.run(ctx)
	return s
}

// Close ships what the journal still holds, until ctx ends or the primary cannot be reached. The rest stays in the
// journal. Stop the Journal first. The error is Unavailable and says how many records are left. Close may be called
// more than once.
func (s *Shipper) Close(ctx context.Context) error {
	s.once.Do(func() { close(s.closing) })
	select {
	case <-s.done:
	case <-ctx.Done():
		s.cut()
		<-s.done
	}
	s.cut()
	if left := s.c.Journal.AuditState().Pending; left > 0 {
		return core.Errorf(core.Unavailable, "%d audit records have not arrived at the primary; they stay in the journal and are shipped after the next start", left)
	}
	return nil
}

func (s *Shipper) run(ctx context.Context) {
	defer close(s.done)
	defer s.drop()
	for try := 0; ; try++ {
		moved, err := s.session(ctx)
		s.drop()
		if err == nil || ctx.Err() != nil {
			return
		}
		s.failed(err)
		if moved {
			try = 0
		}
		if !s.pause(ctx, try) {
			return
		}
	}
}

// pause waits before the next session; false when there will be none.
func (s *Shipper) pause(ctx context.Context, try int) bool {
	d := backoff.Delay(firstPause, longPause, try)
	if !backoff.SleepOr(ctx, d/2+rand.N(d/2), s.closing) {
		return false
	}
	select {
	case <-s.closing:
		return false
	default:
		return true
	}
}

// session ships over one connection. It returns nil when the Shipper is closed and nothing is left.
func (s *Shipper) session(ctx context.Context) (moved bool, err error) {
	if s.link, err = s.connect(ctx); err != nil {
		return false, err
	}
	if err := s.queryArrived(ctx); err != nil {
		return false, err
	}
	s.recovered()
	for {
		b, err := s.c.Journal.nextBatch()
		if err == nil && len(b.records) > 0 {
			if err = s.ship(ctx, b); err == nil {
				moved = true
			}
		}
		if err != nil {
			return moved, err
		}
		if len(b.records) == maxBatch {
			if err := s.rest(ctx); err != nil {
				return moved, err
			}
			continue
		}
		if over, err := s.wait(ctx, len(b.records) == 0); over || err != nil {
			return moved, err
		}
	}
}

// rest pauses between two full batches, so that the primary can serve changes. It does not pause when the journal is
// nearly full or the Shipper is being closed.
func (s *Shipper) rest(ctx context.Context) error {
	if s.c.Journal.pressed() {
		return nil
	}
	select {
	case <-time.After(restShare * time.Since(s.sentAt)):
	case <-s.closing:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (s *Shipper) connect(ctx context.Context) (vault.JournalLink, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.c.Connect(ctx)
}

// wait returns when there may be something to ship, and true when nothing more will come. idle says that there
// was nothing just now.
func (s *Shipper) wait(ctx context.Context, idle bool) (over bool, err error) {
	if idle {
		select {
		case <-s.c.Journal.shippable:
		case <-s.closing:
			return s.drained(), nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(askInterval):
			return false, s.queryArrived(ctx)
		}
	}
	select {
	case <-time.After(linger - time.Since(s.sentAt)):
	case <-s.closing:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

// drained reports whether everything of a stopped journal has arrived. What could not be made durable stays.
func (s *Shipper) drained() bool {
	b, err := s.c.Journal.nextBatch()
	return err == nil && len(b.records) == 0
}

// queryArrived queries the primary for the last record that has arrived. Records that the primary misses and this node no
// longer has are lost. The primary is told to skip them, so that the later ones can arrive.
func (s *Shipper) queryArrived(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	last, at, err := s.link.Arrived(ctx, s.c.Journal.id)
	if err != nil {
		return err
	}
	err = s.c.Journal.settle(last, at)
	var gap gapError
	if !errors.As(err, &gap) {
		return err
	}
	s.c.Log.Error("audit records lost: neither the primary nor this node's journal still has them",
		"from", last+1, "to", gap.last, "directory", s.c.Journal.c.Dir)
	if last, err = s.link.Skip(ctx, s.c.Journal.id, s.c.Node, gap.last); err != nil {
		return err
	}
	return s.c.Journal.settle(last, time.Time{})
}

// ship sends a batch. One that the primary finds malformed goes record by record, so that one cannot keep the others.
func (s *Shipper) ship(ctx context.Context, b batch) error {
	err := s.send(ctx, b.records)
	if core.CodeOf(err) == core.Invalid {
		for i := 0; i < len(b.records) && (err == nil || core.CodeOf(err) == core.Invalid); i++ {
			err = s.shipOne(ctx, b.records[i:i+1])
		}
	}
	if err == nil {
		s.c.Journal.arrive(b)
	}
	return err
}

// shipOne sends a record; instead of a malformed one, what is left of it when everything that may be at fault is
// taken away. The log keeps the whole.
func (s *Shipper) shipOne(ctx context.Context, one []vault.Journaled) error {
	err := s.send(ctx, one)
	if core.CodeOf(err) != core.Invalid {
		return err
	}
	r := one[0]
	s.c.Log.Error("an audit record is not one that the primary takes; the audit log gets a record of that in its place", "error", err.Error(),
		"record", string(appendJournaled(nil, &r)))
	return s.send(ctx, []vault.Journaled{{Sequence: r.Sequence, At: r.At, Entry: vault.Entry{
		Origin: vault.Origin{Node: s.c.Node, Actor: "journal"}, Action: vault.ActionMalformed,
		Outcome: vault.OutcomeFailed, Code: core.Invalid,
	}}})
}

func (s *Shipper) send(ctx context.Context, records []vault.Journaled) error {
	s.sentAt = time.Now()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	last, err := s.link.Ship(ctx, s.c.Journal.id, s.c.Node, records)
	if err == nil && last != records[len(records)-1].Sequence {
		// The primary has more records than this journal ever shipped, so another journal ships under the same UUID.
		return vault.ErrJournalForked
	}
	return err
}

func (s *Shipper) drop() {
	if s.link != nil {
		s.link.Close()
		s.link = nil
	}
}

// failed notes a failure, and logs it when it is of another kind or has another cause than the last.
func (s *Shipper) failed(err error) {
	class := classOf(err)
	s.c.Journal.setShipError(class)
	cause := class + ": " + core.MessageOf(err)
	if cause == s.failing {
		return
	}
	s.failing = cause
	said := []any{"class", class, "error", err.Error(), "directory", s.c.Journal.c.Dir}
	if a := advice[class]; a != "" {
		said = append(said, "advice", a)
	}
	s.c.Log.Warn("audit records do not arrive at the primary; they stay in the journal", said...)
}

func (s *Shipper) recovered() {
	s.c.Journal.setShipError("")
	if s.failing != "" {
		s.failing = ""
		s.c.Log.Info("audit records arrive at the primary again", "pending", s.c.Journal.AuditState().Pending)
	}
}

const (
	classForked  = "forked"
	classDamaged = "damaged"
)

// advice is for the operator where waiting does not help.
var advice = map[string]string{
	classForked:         "another journal has the same UUID, or the directory was set back to an earlier state: stop, keep the directory under another name, start with an empty one",
	classDamaged:        "a file of the directory is not what was written: stop, keep the directory under another name, start with an empty one",
	string(core.Denied): "as a superuser call vault.grant_service_role for the API's database role",
}

func classOf(err error) string {
	switch {
	case errors.Is(err, vault.ErrJournalForked):
		return classForked
	case core.CodeOf(err) == core.Corrupt:
		return classDamaged
	}
	return string(core.CodeOf(err))
}

func (j *Journal) setShipError(class string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.shipError = class
}
