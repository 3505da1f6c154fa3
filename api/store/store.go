package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// DB is the two pools. It is safe for concurrent use.
type DB struct {
	reader, writer *pool
	database       string
	bound          time.Duration // of a call whose context has no deadline
	changeBound    time.Duration // of such a change
	lsnWait        time.Duration // how long a read waits for the reader to replay
	look           look[vault.Replication]
	counts         look[vault.Status]
	current        sharedReads // of current versions, from the reader
}

var (
	_ vault.Store      = (*DB)(nil)
	_ vault.Replicated = (*DB)(nil)
)

// Open prepares the pools. It connects to nothing, so it succeeds while the
// database is away; an error is Invalid and about the Config. The caller closes.
func Open(_ context.Context, c Config) (*DB, error) {
	c = c.withDefaults()
	d := &DB{database: c.Database, bound: c.RequestTimeout, changeBound: c.WriteTimeout, lsnWait: c.LSNWait}
	var err error
	if d.reader, err = c.reader(); err != nil {
		return nil, err
	}
	if d.writer, err = c.writer(); err != nil {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_ = d.reader.close(gone)
		return nil, err
	}
	d.current.ask, d.current.bound = d.askCurrent, c.RequestTimeout
	return d, nil
}

// Close waits for the connections in use until ctx ends, then closes all: a change whose answer is still outstanding
// goes on by itself. The error says that there was one. It may be called once.
func (d *DB) Close(ctx context.Context) error {
	var reading error
	var beside sync.WaitGroup
	beside.Go(func() { reading = d.reader.close(ctx) })
	writing := d.writer.close(ctx)
	beside.Wait()
	return errors.Join(reading, writing)
}

// CheckReader implements vault.Store.
func (d *DB) CheckReader(ctx context.Context) error {
	_, err := read(ctx, d, "SELECT coalesce(vault.extension_version(), '')", nil, pgx.RowTo[string])
	return err
}

// CheckWriter implements vault.Store.
func (d *DB) CheckWriter(ctx context.Context) error {
	_, err := readPrimary(ctx, d, "SELECT coalesce(vault.extension_version(), '')", nil, pgx.RowTo[string])
	return err
}

// ExtensionVersion returns the version of the installed schema, as the reader
// sees it.
func (d *DB) ExtensionVersion(ctx context.Context) (string, error) {
	v, err := read(ctx, d, "SELECT coalesce(vault.extension_version(), '')", nil, pgx.RowTo[string])
	if err != nil || len(v) == 0 {
		return "", err
	}
	return v[0], nil
}
