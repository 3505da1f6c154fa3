package vault

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// MaxBatch is how many names one BatchRead may ask for.
	MaxBatch = 256
	// MaxBatchBytes is how many bytes of plaintext one BatchRead answers with, all positions together.
	MaxBatchBytes = 16 << 20
	// maxUnwraps is how many data keys of one BatchRead are unwrapped at a time.
	maxUnwraps = 8
)

// BatchResult is the answer to one position of a BatchRead.
type BatchResult struct {
	Name  string // as asked for
	Value Value  // zero unless Err is nil
	Err   error  // as of Read, or TooLarge: the values before it left no room
}

// Batch is what BatchRead returns. Positions of the same name share their plaintext. The receiver calls Wipe.
type Batch []BatchResult

// Wipe overwrites every plaintext.
func (b Batch) Wipe() {
	for i := range b {
		b[i].Value.Wipe()
	}
}

// BatchRead returns the current versions of 1 to MaxBatch names, one result for each position. It needs an allowed
// client address, and each position the right read on its name. Each name gets an audit record of its own, all of them
// written before anything is returned; a caller who is refused, or asks for too many, gets one without a name. Together
// the values are at most MaxBatchBytes: what no longer fits is TooLarge, and can be asked for again. The caller wipes
// the result, and bounds how many there are at a time. Errors of the whole: Unauthenticated, Denied, Invalid,
// Unavailable and what else the store answers for all names at once.
func (v *Vault) BatchRead(ctx context.Context, c Caller, names []string) (Batch, error) {
	a := v.try(c, ActionRead, "", 0)
	if len(names) <= MaxBatch {
		a.counts = len(distinct(names))
	}
	return perform(ctx, a.serve, func(ctx context.Context) (out Batch, err error) {
		if err := checkBatch(names); err != nil {
			return out, a.invalid(ctx, err)
		}
		out, err = a.readBatch(ctx, names, c.Freshness)
		if err != nil && isRefusal(err) {
			return out, err
		}
		a.each, a.allRefused = a.entriesOf(names, out), out.allRefused()
		return out, err
	})
}

func distinct(names []string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, n := range names {
		all[n] = true
	}
	return all
}

func checkBatch(names []string) error {
	if len(names) < 1 || len(names) > MaxBatch {
		return core.Errorf(core.Invalid, "%d names are asked for, want 1 to %d", len(names), MaxBatch)
	}
	return nil
}

// allRefused reports whether every position was refused.
func (b Batch) allRefused() bool {
	return len(b) > 0 && !slices.ContainsFunc(b, func(r BatchResult) bool { return !isRefusal(r.Err) })
}

// entriesOf makes one record for each name, of what became of its first position: a later one never gets more.
func (a *attempt) entriesOf(names []string, out Batch) []Entry {
	seen := make(map[string]bool, len(names))
	entries := make([]Entry, 0, len(names))
	for i, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		e := a.entry
		e.Name = recordable(ActionRead, name)
		if out != nil {
			e.Version = out[i].Value.Version
			e = e.ended(out[i].Err)
			a.v.refused.count(out[i].Err)
		}
		entries = append(entries, e)
	}
	return entries
}

// readBatch returns a Batch that holds plaintext, if the error is nil.
func (a *attempt) readBatch(ctx context.Context, names []string, f Freshness) (Batch, error) {
	out := make(Batch, len(names))
	done := false
	defer func() {
		if !done {
			out.Wipe()
		}
	}()
	first := make(map[core.Name]int, len(names)) // position
	asked := make([]core.Name, 0, len(names))
	for i, name := range names {
		out[i].Name = name
		n, err := core.ParseName(name)
		out[i].Err = err
		if _, twice := first[n]; err == nil && !twice {
			first[n] = i
			asked = append(asked, n)
		}
	}
	if len(asked) == 0 {
		if err := a.decide(ctx, Freshness{}); err != nil {
			return nil, err
		}
	} else {
		rows, i, err := a.v.c.Store.ReadEach(ctx, a.by, asked, MaxBatchBytes+len(asked)*envelope.Overhead, f)
		if err := a.found(i, err); err != nil {
			return nil, err
		}
		a.v.openEach(ctx, asked, rows, func(n core.Name) *BatchResult { return &out[first[n]] })
	}
	out.fit(first)
	done = true
	return out, nil
}

// fit gives later positions what their name's first one has, and takes back what does not fit.
func (b Batch) fit(first map[core.Name]int) {
	room := MaxBatchBytes
	for i := range b {
		r := &b[i]
		if at, ok := first[core.Name(r.Name)]; ok && at != i {
			r.Value, r.Err = b[at].Value, b[at].Err
		}
		if r.Err != nil {
			continue
		}
		if len(r.Value.Plain) > room {
			if at := first[core.Name(r.Name)]; at == i {
				r.Value.Wipe()
			}
			r.Value, r.Err = Value{}, errNoRoom()
			continue
		}
		room -= len(r.Value.Plain)
	}
}

func errNoRoom() error {
	return core.Errorf(core.TooLarge, "the values of one answer are at most %d bytes: ask for this one again", MaxBatchBytes)
}

// openEach opens the rows of names into their results, several at a time. A panic of one of them is the caller's.
func (v *Vault) openEach(ctx context.Context, names []core.Name, rows []StoredResult, result func(core.Name) *BatchResult) {
	each(len(rows), func(i int) {
		r := result(names[i])
		if r.Err = rows[i].Err; r.Err == nil {
			r.Value, r.Err = v.openCurrent(ctx, names[i], rows[i].StoredValue)
		}
	})
}

// each does something for 0 to n-1, several at a time. It returns when all is done; a panic of one of them is then the
// caller's.
func each(n int, do func(i int)) {
	var next atomic.Int64
	var panicked atomic.Pointer[core.Error]
	work := func() {
		defer func() {
			if p := recover(); p != nil {
				panicked.CompareAndSwap(nil, core.Recovered(p))
			}
		}()
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			do(int(i))
		}
	}
	var workers sync.WaitGroup
	for range min(maxUnwraps, n) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
	if p := panicked.Load(); p != nil {
		panic(p)
	}
}
