package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// setNames are the values of one statement that reads many.
const setNames = 1000

// workingSet is how many secrets the operations go over, evenly spread over the vault. It is the same in a small and in a
// large vault: the data keys of so many are at hand in both.
const workingSet = 1000

// Bounds of what must stay quick however much a vault holds. What has none may take maxGrowth times as long as in a small one.
const (
	pageBound       = 10 * time.Millisecond
	statusBound     = 10 * time.Millisecond
	supervisorBound = 20 * time.Millisecond
	auditBound      = 20 * time.Millisecond
	maxGrowth       = 1.2
	unbounded       = time.Duration(-1) // of what is shown only: it depends on how many data keys are at hand
)

// scaleMeasurements is what is measured of a filled vault. What shows or counts comes first: the supervisor counts new
// secrets in its passes, and until then each look counts those of a burst.
func scaleMeasurements(o options, db *database, rest *rest) []measurement {
	all := scaleLooks(o, rest)
	all = append(all, scaleQueries(o, db)...)
	return append(all, scaleOperations(o, db, rest)...)
}

// scaleQueries are statements that show much or count much.
func scaleQueries(o options, db *database) []measurement {
	return []measurement{
		{name: "SQL vault.status()", workers: db.asked("SELECT vault.status()"), bound: statusBound},
		{name: "SQL list_secrets, a prefix of 1,000 secrets", workers: db.asked("SELECT * FROM vault.list_secrets($1)",
			prefixOf(o.filled/2)), bound: pageBound},
		{name: "SQL list_secrets, a page of 1,000", workers: db.asked("SELECT * FROM vault.list_secrets(NULL, $1, 1000)",
			filledName(o.filled/2)), bound: pageBound},
		{name: "SQL audit, newest 100", workers: db.asked("SELECT * FROM vault.audit(max_rows => 100)"), bound: auditBound},
		{name: "SQL audit, newest 100 of a name", workers: db.asked("SELECT * FROM vault.audit($1, max_rows => 100)",
			filledName(o.filled/2)), bound: auditBound},
		{name: "SQL audit, newest 100 of a name with every 25th record", workers: db.asked(
			"SELECT * FROM vault.audit($1, max_rows => 100)", filledName(hotSecret)), bound: auditBound},
		{name: "SQL audit, newest 100 of a prefix of 1,000 secrets", workers: db.asked(
			"SELECT * FROM vault.audit($1, max_rows => 100)", prefixOf(o.filled/2)), bound: auditBound},
		{name: "SQL audit, 100 before a time", workers: db.asked(
			"SELECT * FROM vault.audit(max_rows => 100, until => now() - interval '15 days')"), bound: auditBound},
		{name: "supervisor pass, nothing due", workers: db.asked("SELECT vault.supervise(1000, true)"), bound: supervisorBound},
	}
}

func scaleOperations(o options, db *database, rest *rest) []measurement {
	some := func() []any { return []any{filledName(o.pick(int(db.next.Add(1))))} }
	set := func() []any {
		names := make([]string, setNames)
		for i := range names {
			names[i] = filledName(o.pick(i))
		}
		return []any{names}
	}
	each := func() []any { return []any{filledName(int(db.next.Add(1)) * 7919 % o.filled)} }
	read := func(args func() []any) []worker {
		return repeat(o.sqlConns, func(int) worker { return db.statement("SELECT vault.read_secret($1)", true, args) })
	}
	return []measurement{
		{name: "SQL read_secret", workers: read(some)},
		{name: "SQL read_secret, each of all secrets", workers: read(each), bound: unbounded},
		{name: "SQL read_secret of 1,000 names in one statement", workers: repeat(1, func(int) worker {
			return db.statement("SELECT count(vault.read_secret(n)) FROM unnest($1::text[]) n", true, set)
		})},
		{name: "SQL read_secrets of 1,000 names", workers: repeat(1, func(int) worker {
			return db.statement("SELECT count(*) FROM vault.read_secrets($1)", true, set)
		})},
		{name: "SQL create_secret", workers: db.creators(o.sqlConns)},
		{name: "SQL update_secret", workers: repeat(o.sqlConns, func(int) worker {
			return db.statement("SELECT vault.update_secret($1, $2::text, NULL)", true, func() []any {
				return []any{filledName(o.pick(2 * int(db.next.Add(1)))), db.value} // every second secret is a manual one
			})
		})},
		{name: "connect and read_secret", workers: repeat(1, func(int) worker { return db.connectors(some) })},
		{name: "REST read", load: filledReads(o, ""), floors: nil},
		{name: "REST read with a token", load: filledReads(o, rest.token)},
		{name: "REST create", workers: rest.creators(o.conns)},
		{name: "REST update", workers: rest.updaters(o.conns)},
	}
}

// scaleLooks are requests that show much or count much.
func scaleLooks(o options, rest *rest) []measurement {
	get := func(path string) []worker {
		req := request("GET", rest.addr, path, rest.token, "")
		return repeat(1, func(int) worker {
			return rest.worker(func(c *client) error { _, err := c.do(req, http.StatusOK, nil); return err })
		})
	}
	return []measurement{
		{name: "GET /v1/status", workers: get("/v1/status"), bound: statusBound},
		{name: "GET /metrics", workers: get("/metrics"), bound: statusBound},
		{name: "GET /v1/secrets, first page", workers: get("/v1/secrets?limit=100"), bound: pageBound},
		{name: "GET /v1/secrets, a page in the middle", workers: get("/v1/secrets?limit=100&after=" + filledName(o.filled/2)), bound: pageBound},
		{name: "GET /v1/secrets, a page of a prefix", workers: get("/v1/secrets?limit=100&prefix=" + prefixOf(o.filled/2)), bound: pageBound},
		{name: "GET /v1/audit, first page", workers: get("/v1/audit?limit=100"), bound: auditBound},
		{name: "GET /v1/tokens, first page", workers: get("/v1/tokens?limit=100"), bound: pageBound},
		{name: "GET /v1/versions", workers: get("/v1/versions/" + filledName(o.filled/2)), bound: pageBound},
	}
}

// pick spreads consecutive numbers over the working set.
func (o options) pick(i int) int {
	set := min(workingSet, o.filled)
	return i * 7919 % set * (o.filled / set)
}

// prefixOf is the prefix of the i-th filled secret and of a thousand others.
func prefixOf(i int) string { return fmt.Sprintf("bench/fill/%04d/", i/1000) }

func filledReads(o options, token string) *load {
	i := 0
	return &load{addr: o.addr, conns: o.conns, next: func() []byte {
		i++
		return request("GET", o.addr, "/v1/secrets/"+filledName(o.pick(i)), token, "")
	}}
}

// asked runs one statement as the superuser on one connection.
func (db *database) asked(sql string, args ...any) []worker {
	return repeat(1, func(int) worker { return db.statement(sql, false, func() []any { return args }) })
}

// connectors open a connection for each read.
func (db *database) connectors(args func() []any) worker {
	return func(ctx context.Context) (func() error, func(), error) {
		op := func() error {
			conn, err := pgx.ConnectConfig(ctx, db.config.Copy())
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			_, err = conn.Exec(ctx, "SELECT vault.read_secret($1)", args()...)
			return err
		}
		return op, func() {}, nil
	}
}
