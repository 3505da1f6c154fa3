package hvsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
)

// Open makes the connector of a driver for one user and password.
type Open func(username, password string) (driver.Connector, error)

// NewConnector returns a connector for sql.OpenDB. Each connection is opened with the credential that is current then. If
// PostgreSQL refuses that, it is opened with a newer one, for as long as the vault has a newer one. A function that is given to
// sql.Conn.Raw gets the connection of the driver from the method Raw of its argument.
func NewConnector(f *Follower, open Open) driver.Connector { return &connector{f: f, open: open} }

type connector struct {
	f    *Follower
	open Open
}

// Connect opens a connection. Fetches are at least a second apart, so its tries are as well.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	by, err := c.f.Valid(ctx)
	if err != nil {
		return nil, err
	}
	for {
		made, err := c.connect(ctx, by)
		if err == nil || !isRefused(err) {
			return made, err
		}
		newer, failure := c.f.Replace(ctx, by)
		if failure != nil {
			return nil, errors.Join(failure, err)
		}
		by = newer
	}
}

func (c *connector) connect(ctx context.Context, by Credential) (driver.Conn, error) {
	inner, err := c.open(by.Username, by.Password)
	if err != nil {
		return nil, err
	}
	made, err := inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: made, f: c.f, serial: by.serial}, nil
}

// Driver returns the driver of the connections, or nil if there is none for the current credential.
func (c *connector) Driver() driver.Driver {
	by := c.f.Current()
	inner, err := c.open(by.Username, by.Password)
	if err != nil {
		return nil
	}
	return inner.Driver()
}

// isRefused reports whether PostgreSQL has refused the user or the password, by an SQLSTATE of class 28, or PgBouncer
// has. Drivers give the SQLSTATE by this method of their errors. PgBouncer has one SQLSTATE for all that it refuses, so
// its text decides.
func isRefused(err error) bool {
	stated, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	if !ok {
		return false
	}
	state := stated.SQLState()
	return len(state) == 5 && state[:2] == "28" || state == protocolViolation && strings.Contains(stated.Error(), "authentication failed")
}

const protocolViolation = "08P01"

// BeforeConnect returns the BeforeConnect of a pool of pgx. set puts the user and the password into its configuration:
//
//	config.BeforeConnect = hvsql.BeforeConnect(f, func(c *pgx.ConnConfig, username, password string) {
//		c.User, c.Password = username, password
//	})
//
// It returns an error if the credential has ended and the vault gives no other.
func BeforeConnect[C any](f *Follower, set func(c C, username, password string)) func(context.Context, C) error {
	return func(ctx context.Context, c C) error {
		by, err := f.Valid(ctx)
		if err != nil {
			return err
		}
		set(c, by.Username, by.Password)
		return nil
	}
}

// IsCurrent reports whether a user is that of the current credential. A pool of pgx moves over to the other role of a pair, and
// to another lease, with
//
//	config.PrepareConn = func(_ context.Context, c *pgx.Conn) (bool, error) {
//		return hvsql.IsCurrent(f, c.Config().User), nil
//	}
func IsCurrent(f *Follower, username string) bool { return f.Current().Username == username }
