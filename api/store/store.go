package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// DB is the two pools. It is safe for concurrent use.
type DB struct {
	reader, writer *pgcluster.Pool
	database       string
	bound          time.Duration // of a call whose context has no deadline
	changeBound    time.Duration // of such a change
	lsnWait        time.Duration // how long a read waits for the reader to replay
	replicated     cachedQuery[vault.Replication]
	counts         cachedQuery[vault.Status]
	shares         shares  // of the writer's connections
	primaryReads   *places // for the reads of clients on the writer's connections
	supervised     cachedQuery[supervision]
	lastChange     lastChange
	commits        cachedQuery[commits] // of the primary
	current        *sharedReads         // of current versions, from the reader
	looks          *sharedLooks         // at what changes are of, on the primary
	appends        *groups[newAppend]   // of changes of values
	creations      *groups[newCreation] // of secrets
	// passwordAppends are those of values that are passwords of roles.
	passwordAppends *groups[newAppend]
	reported        atomic.Bool // the primary has been told of sessions on the reader's server
}

var (
	_ vault.Store       = (*DB)(nil)
	_ vault.Replicated  = (*DB)(nil)
	_ vault.Conditioned = (*DB)(nil)
)

// Open prepares the pools. It connects to nothing, so it succeeds while the
// database is away; an error is Invalid and about the Config. The caller closes.
func Open(_ context.Context, c Config) (*DB, error) {
	c = c.withDefaults()
	d := &DB{database: c.Database, bound: c.RequestTimeout, changeBound: c.WriteTimeout, lsnWait: c.LSNWait}
	var err error
	if d.writer, err = c.writer(); err != nil {
		return nil, err
	}
	if d.reader, err = c.reader(d.writer.Timeline); err != nil {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_ = d.writer.CloseWithin(gone)
		return nil, err
	}
	d.primaryReads = placesForReads(c.WriterConns)
	d.current, d.looks = newSharedReads(d.queryCurrent, c.RequestTimeout), newSharedLooks(d, c.WriteTimeout, c.WriterConns)
	// Groups that are slow must leave connections to what is sent alone.
	d.appends = newGroups(d, appendGroup, c.WriteTimeout, c.WriterConns/2)
	d.creations = newGroups(d, createGroup, c.WriteTimeout, c.WriterConns/4)
	d.passwordAppends = newGroups(d, appendWithVerifierGroup, c.WriteTimeout, c.WriterConns/8)
	return d, nil
}

// Close waits for the connections in use until ctx ends, then closes all: a change whose answer is still outstanding
// goes on by itself. The error says that there was one. It may be called once.
func (d *DB) Close(ctx context.Context) error {
	var reading error
	var beside sync.WaitGroup
	beside.Go(func() { reading = d.reader.CloseWithin(ctx) })
	writing := d.writer.CloseWithin(ctx)
	beside.Wait()
	return errors.Join(reading, writing)
}

// CheckReader implements vault.Store.
func (d *DB) CheckReader(ctx context.Context) error {
	return d.checked(read(ctx, d, schemaQuery, nil, pgx.RowToStructByPos[Schema]))
}

// CheckWriter implements vault.Store.
func (d *DB) CheckWriter(ctx context.Context) error {
	if err := d.checked(readPrimary(ctx, d, schemaQuery, nil, pgx.RowToStructByPos[Schema])); err != nil {
		return err
	}
	return d.checkChanges(ctx)
}

// checked returns an error unless the schema serves this program. The connections that were made to an earlier schema
// are then given up: new ones are refused by checkSchema until the two fit.
func (d *DB) checked(schemas []Schema, err error) error {
	if err != nil || len(schemas) == 0 {
		return err
	}
	if err := schemas[0].mismatch(); err != nil {
		d.reader.Reset()
		d.writer.Reset()
		return err
	}
	return nil
}

// Schema returns which schema the reader's database has.
func (d *DB) Schema(ctx context.Context) (Schema, error) {
	s, err := read(ctx, d, schemaQuery, nil, pgx.RowToStructByPos[Schema])
	if err != nil || len(s) == 0 {
		return Schema{}, err
	}
	return s[0], nil
}

// FindPooler returns core.Invalid, with the host, when a connection pooler answers at one of the hosts.
func (d *DB) FindPooler(ctx context.Context) error { return d.reader.FindPooler(ctx) }
