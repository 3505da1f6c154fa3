package hvsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/hvsql"
)

// The pool of database/sql logs in as whichever role of a pair is current.
func Example() {
	settings, err := client.FromEnviron(os.Environ())
	if err != nil {
		log.Fatal(err)
	}
	vault, err := client.New(settings)
	if err != nil {
		log.Fatal(err)
	}
	f, err := hvsql.NewFollower(context.Background(), hvsql.Secret(vault, "shop/db"))
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	f.OnError(func(err error) { log.Print(err) })
	config, err := pgx.ParseConfig("host=db.example.org dbname=shop sslmode=verify-full")
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(hvsql.NewConnector(f, func(username, password string) (driver.Connector, error) {
		c := config.Copy()
		c.User, c.Password = username, password
		return stdlib.GetConnector(*c), nil
	}))
	defer func() { _ = db.Close() }()
}

// The pool of pgx uses a leased role.
func ExampleBeforeConnect() {
	ctx := context.Background()
	vault, _ := client.New(client.Config{Address: "https://vault.example.org:8200", Token: "hvt_…"})
	f, err := hvsql.NewFollower(ctx, hvsql.Lease(vault, "app/reader"))
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	config, err := pgxpool.ParseConfig("host=db.example.org dbname=shop sslmode=verify-full")
	if err != nil {
		log.Fatal(err)
	}
	config.BeforeConnect = hvsql.BeforeConnect(f, func(c *pgx.ConnConfig, username, password string) {
		c.User, c.Password = username, password
	})
	config.PrepareConn = func(_ context.Context, c *pgx.Conn) (bool, error) {
		return hvsql.IsCurrent(f, c.Config().User), nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
}
