package audit

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	defaultMaxBytes = 1 << 30
	maxSegment      = 16 << 20
	minSegment      = 64 << 10
	// syncInterval is the most time between a write and the beginning of its fsync, unless every write waits for one.
	syncInterval = 200 * time.Millisecond
	// maxUnsynced is how much may be written while an fsync takes its time; what is not known to be durable is kept in
	// memory, should it have to be written again.
	maxUnsynced = 32 << 20
	// lineOverhead is more than the checksum and the number take in a line.
	lineOverhead = 48
	// defaultRetention is how long arrived records are kept, should a failover lose them on the primary.
	defaultRetention = 10 * time.Minute
)

// Config is the configuration of a Journal. Dir is required.
type Config struct {
	Dir       string           // of this journal alone; created with mode 0700 if needed
	Always    bool             // every record waits for an fsync; otherwise one starts within 200 ms of the write
	MaxBytes  int64            // of records that have not arrived; beyond it records are refused. 0 = 1 GiB
	Retention time.Duration    // of arrived records; 0 = 10 min
	Log       *slog.Logger     // nil = slog.Default()
	Clock     func() time.Time // nil = the system's
	Node      string           // in the records of leased reads
	// EndLeases is called when the records of leased reads cannot be taken over: no backend may keep a leased key. It may
	// be called often, and from any goroutine. nil = there are no leases.
	EndLeases func()

	disk        disk  // nil = the real one
	segmentSize int64 // 0 = by MaxBytes
	leasedSize  int64 // 0 = maxLeasedFile
}

func (c *Config) complete() {
	if c.MaxBytes <= 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.Retention <= 0 {
		c.Retention = defaultRetention
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.disk == nil {
		c.disk = realDisk{}
	}
	if c.leasedSize <= 0 {
		c.leasedSize = maxLeasedFile
	}
	if c.segmentSize <= 0 {
		c.segmentSize = max(minSegment, min(maxSegment, c.MaxBytes/16))
	}
}

// Journal writes records into the segments of a directory that no other process uses. One goroutine writes. Requests
// that wait at the same moment share its write, and its fsync where each of them waits for one. Safe for concurrent
// use.
type Journal struct {
	c    Config
	id   vault.JournalID
	lock *os.File

	wake      chan struct{} // for the writer: a request waits
	shippable chan struct{} // for the shipper: more is durable
	closing   chan struct{}
	once      sync.Once
	running   sync.WaitGroup

	out outlet // the writer's and the syncer's

	leased leasedFiles

	mu       sync.Mutex
	waiting  *group
	segments []*segment // oldest first
	open     *segment   // the last of them, which is written to; the writer's to change
	next     uint64     // number of the next record
	durable  uint64     // the last record known to be durable
	arrived  cursor     // after the last record that is known to have arrived
	pending  int64      // bytes after it
	failure  error      // of the last write; nil = it went well
	all      bound      // on what is pending, for every record
	refusals bound      // for those of operations that did not succeed
	closed   bool

	began            uint64 // the first number of this process
	refused, shipped uint64
	lastShipped      time.Time
	shipError        string
	oldestPending    vault.Journaled // as of the last AuditState
}

var _ vault.Journal = (*Journal)(nil)

// group is records that share a write.
type group struct {
	rests []byte      // each with LF
	n     int         // of them; 0 = try whether one could be written
	taken vault.Taken // the last that was taken from a file of leased reads
	done  chan struct{}
	err   error // once done is closed
}

// Open locks and checks the directory, cuts off a torn end, and starts to take records. Its errors are about the
// directory and name VAULT_AUDIT_DIR. The error is Invalid when the directory is unusable, and Corrupt when it is
// damaged. The caller calls Close.
func Open(c Config) (*Journal, error) {
	c.complete()
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		c: c, lock: lock, wake: make(chan struct{}, 1), shippable: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	j.all, j.refusals = bounds(c.MaxBytes)
	if err := j.load(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	if err := j.loadLeased(); err != nil {
		_ = errors.Join(j.out.close(), lock.Close())
		return nil, err
	}
	j.running.Go(j.write)
	j.running.Go(j.takeOften)
	if !c.Always {
		j.running.Go(j.syncOften)
	}
	return j, nil
}

// load takes over what an earlier process left. All of it counts as pending until the primary says more.
func (j *Journal) load() (err error) {
	if j.segments, err = loadSegments(j.c.disk, j.c.Dir, j.c.Log); err != nil {
		return err
	}
	if j.id, err = identify(j.c.disk, j.c.Dir, len(j.segments) == 0); err != nil {
		return err
	}
	if len(j.segments) == 0 {
		if j.out.file, err = j.createSegment(1); err != nil {
			return dirError(j.c.Dir, err, "no segment can be made")
		}
		j.begin(1)
	} else if err = j.reopen(); err != nil {
		return err
	}
	last := j.open
	j.next, j.durable, j.began = last.last+1, last.last, last.last+1
	j.out.synced = last.size
	for _, s := range j.segments {
		j.pending += s.size
	}
	j.arrived = cursor{last: j.segments[0].first - 1}
	return nil
}

// reopen goes on with the last segment, of which a process that was killed may have left more than the disk has.
func (j *Journal) reopen() (err error) {
	j.open = j.segments[len(j.segments)-1]
	name := segmentName(j.open.first)
	if j.out.file, err = j.c.disk.Open(j.path(j.open.first)); err != nil {
		return dirError(j.c.Dir, err, "%s cannot be written to", name)
	}
	if err = j.out.file.Sync(); err != nil {
		return dirError(j.c.Dir, errors.Join(err, j.out.file.Close()), "%s cannot be synced", name)
	}
	return nil
}

func (j *Journal) path(first uint64) string { return filepath.Join(j.c.Dir, segmentName(first)) }

// ID returns the journal's UUID. It does not change.
func (j *Journal) ID() vault.JournalID { return j.id }

// Record returns nil once the entries are written to the journal's file, and durable where Config.Always is set.
// Every error is Unavailable. The journal is then full, closed or cannot be written, or ctx ended first. Entries of
// which none is a success are refused from half of MaxBytes on. When ctx ended first, the records may be written all
// the same.
func (j *Journal) Record(ctx context.Context, entries ...vault.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	at := j.c.Clock()
	rests := restsPool.Get().(*[]byte)
	for i := range entries {
		*rests = append(appendRest(*rests, at, &entries[i]), '\n')
	}
	g, err := j.join(*rests, len(entries), refusalsOnly(entries))
	*rests = (*rests)[:0]
	restsPool.Put(rests)
	if err == nil {
		err = g.wait(ctx)
	}
	if err != nil {
		j.mu.Lock()
		j.refused += uint64(len(entries))
		j.mu.Unlock()
	}
	return err
}

var restsPool = sync.Pool{New: func() any { return new([]byte) }}

func (g *group) wait(ctx context.Context) error {
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return core.Wrap(core.Unavailable, ctx.Err(), "the audit journal's disk did not answer in time")
	}
}

// join copies n records into the group that the writer takes next; refusals as in hasRoom.
func (j *Journal) join(rests []byte, n int, refusals bool) (*group, error) {
	return j.joinAs(rests, n, refusals, vault.Taken{})
}

// joinAs is join. t says where the last of the records was taken from, if they are of leased reads.
func (j *Journal) joinAs(rests []byte, n int, refusals bool, t vault.Taken) (*group, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, core.Errorf(core.Unavailable, "the audit journal is closed")
	}
	size := int64(len(rests) + n*lineOverhead)
	if t.File != 0 {
		size = max(0, size-j.leased.waiting.Load()) // they wait already
	}
	if n > 0 {
		if err := j.hasRoom(size, refusals); err != nil {
			return nil, err
		}
	}
	if j.waiting == nil {
		j.waiting = &group{done: make(chan struct{})}
	}
	g := j.waiting
	g.rests, g.n = append(g.rests, rests...), g.n+n
	if t.File != 0 {
		g.taken = t
	}
	signal(j.wake)
	return g, nil
}

// Check returns nil if a record could be written now. After a failed write it tries a write, so that a disk with space
// again is detected without a request. The error is Unavailable.
func (j *Journal) Check(ctx context.Context) error {
	j.mu.Lock()
	failure, full := j.failure, j.hasRoom(maxText, false)
	j.mu.Unlock()
	if full != nil {
		return full
	}
	if failure == nil {
		return nil
	}
	g, err := j.join(nil, 0, false)
	if err != nil {
		return err
	}
	return g.wait(ctx)
}

// AuditState implements vault.Journal.
func (j *Journal) AuditState() vault.AuditState {
	oldest := j.oldest()
	j.mu.Lock()
	defer j.mu.Unlock()
	s := vault.AuditState{
		Pending: j.next - 1 - j.arrived.last, PendingBytes: j.pending, MaxBytes: j.c.MaxBytes,
		OldestPending: oldest, Recorded: j.next - j.began, Refused: j.refused, Shipped: j.shipped,
		LastShippedAt: j.lastShipped, LastShipError: j.shipError,
	}
	j.leasedState(&s)
	return s
}

// Stop refuses further records. It returns when the records under way are durable or have failed. The Shipper can still
// ship what is in the journal. Stop may be called more than once.
func (j *Journal) Stop() {
	j.once.Do(func() {
		j.stopLeases()
		j.mu.Lock()
		j.closed = true
		j.mu.Unlock()
		close(j.closing)
	})
	j.running.Wait()
}

// Close stops the journal and releases the directory. Close the Shipper first. A second Close returns an error.
func (j *Journal) Close() error {
	j.Stop()
	return errors.Join(j.leased.close(), j.out.close(), j.lock.Close())
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
