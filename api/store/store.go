package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// DB is the two pools. It is safe for concurrent use.
type DB struct {
	reader, writer *pgxpool.Pool
	database       string
	bound          time.Duration // of a call whose context has no deadline
	lsnWait        time.Duration // how long a read waits for the reader to replay
	current        sharedReads   // of current versions, from the reader
}

var _ vault.Store = (*DB)(nil)

// Open prepares the pools. It connects to nothing, so it succeeds while the
// database is away; an error is Invalid and about the Config. The caller closes.
func Open(ctx context.Context, c Config) (*DB, error) {
	c = c.withDefaults()
	rc, err := c.reader()
	if err != nil {
		return nil, err
	}
	wc, err := c.writer()
	if err != nil {
		return nil, err
	}
	d := &DB{database: c.Database, bound: c.RequestTimeout, lsnWait: c.LSNWait}
	d.current.ask, d.current.bound = d.askCurrent, c.RequestTimeout
	if d.reader, err = pgxpool.NewWithConfig(ctx, rc); err != nil {
		return nil, d.classify(err)
	}
	if d.writer, err = pgxpool.NewWithConfig(ctx, wc); err != nil {
		d.reader.Close()
		return nil, d.classify(err)
	}
	return d, nil
}

// Close waits for the connections in use, then closes all. A change whose answer
// is still outstanding holds it up for as long as one request may take; after
// that Close returns without it.
func (d *DB) Close() error {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		d.reader.Close()
		d.writer.Close()
	}()
	t := time.NewTimer(d.bound)
	defer t.Stop()
	select {
	case <-closed:
		return nil
	case <-t.C:
		return errors.New("a database connection is still in use")
	}
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
