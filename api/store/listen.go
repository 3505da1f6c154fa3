package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
)

// The channels of the vault schema.
const (
	ChannelRotation = "hyperion_vault_rotation" // a rotation is due
	ChannelChanges  = "hyperion_vault_changes"  // a secret has changed
)

// listenCheck is how often a silent connection is asked whether its server still is the primary.
const listenCheck = 15 * time.Second

// Listen connects to the primary, outside the pools, and calls heard with "" once it listens, and then with the channel
// of every notification. It returns when ctx ends or the connection is no longer usable, always with an error; what
// is notified between two calls is lost.
func (d *DB) Listen(ctx context.Context, heard func(channel string)) error {
	bounded, cancel := context.WithTimeout(ctx, d.bound)
	defer cancel()
	conn, err := d.writer.Dial(bounded)
	if err != nil {
		return d.classify(err)
	}
	defer func() { closeSoon(conn) }()
	if _, err := conn.Exec(bounded, "LISTEN "+ChannelRotation+"; LISTEN "+ChannelChanges); err != nil {
		return d.classify(err)
	}
	heard("")
	for {
		if channel, err := hear(ctx, conn); err == nil {
			heard(channel)
		} else if !errors.Is(err, errNothingHeard) {
			return d.classify(err)
		} else if err := stillPrimary(ctx, conn, d.bound); err != nil {
			return d.classify(err)
		}
	}
}

var errNothingHeard = errors.New("no notification came")

func hear(ctx context.Context, conn *pgx.Conn) (channel string, err error) {
	bounded, cancel := context.WithTimeout(ctx, listenCheck)
	defer cancel()
	n, err := conn.WaitForNotification(bounded)
	switch {
	case err == nil:
		return n.Channel, nil
	case ctx.Err() == nil && bounded.Err() != nil:
		return "", errNothingHeard
	}
	return "", err
}

// stillPrimary finds a connection whose other end is gone without a word, and a server that was demoted.
func stillPrimary(ctx context.Context, conn *pgx.Conn, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var inRecovery bool
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&inRecovery); err != nil {
		return err
	}
	if inRecovery {
		return pgcluster.ErrInRecovery
	}
	return nil
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
	pgcluster.Disconnect(conn)
}
