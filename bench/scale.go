package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

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
func scaleMeasurements(o options, db *database, rest *rest, beside *served) []measurement {
	all := scaleLooks(o, rest)
	all = append(all, scaleQueries(o, db)...)
	all = append(all, scaleReads(o, db)...)
	all = append(all, scaleChanges(o, db, rest)...)
	return append(all, scaleRequests(o, rest, beside)...)
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

// floorGinSealed is the floor of reads by REST in a filled vault.
const floorGinSealed = "floor: gin + one pgx select of a sealed row by name"

// scaleReads are reads by SQL, and the floors that they stand on.
func scaleReads(o options, db *database) []measurement {
	some := func() []any { return []any{filledName(o.pick(int(db.next.Add(1))))} }
	set := func() []any {
		names := make([]string, setNames)
		for i := range names {
			names[i] = filledName(o.pick(i))
		}
		return []any{names}
	}
	each := func() []any { return []any{filledName(int(db.next.Add(1)) * 7919 % o.filled)} }
	all := func(sql string, app bool, args func() []any) []worker {
		return repeat(o.sqlConns, func(int) worker { return db.statement(sql, app, args) })
	}
	return append([]measurement{
		{name: floorSealed, workers: all(sealedSQL, false, some)},
		{name: "SQL read_secret", workers: all(readSQL, true, some), floors: []string{floorSealed}},
		{name: "SQL read_secret, each of all secrets", workers: all(readSQL, true, each), bound: unbounded},
	}, setReads(db, some, set)...)
}

// scaleChanges are changes by SQL. Every second secret is a manual one.
func scaleChanges(o options, db *database, rest *rest) []measurement {
	return []measurement{
		{name: floorInsert, workers: db.inserters(o.sqlConns)},
		{name: "SQL create_secret", workers: db.creators(o.sqlConns), floors: []string{floorInsert}},
		{name: "SQL update_secret", floors: []string{floorInsert}, workers: repeat(o.sqlConns, func(int) worker {
			return db.statement("SELECT vault.update_secret($1, $2::text, NULL)", true, func() []any {
				return []any{filledName(o.pick(2 * int(db.next.Add(1)))), db.value}
			})
		})},
		{name: floorInsertREST, workers: db.inserters(o.conns)},
		{name: "REST create", workers: rest.creators(o.conns), floors: []string{floorInsertREST}},
		{name: "REST update", workers: rest.updaters(o.conns), floors: []string{floorInsertREST}},
	}
}

// scaleRequests are reads by REST.
func scaleRequests(o options, rest *rest, beside *served) []measurement {
	return []measurement{
		{name: floorGinSealed, load: filledReads(o, beside.gin, "/sealed/", "")},
		{name: "REST read", load: filledReads(o, o.addr, "/v1/secrets/", ""), floors: []string{floorGinSealed}},
		{name: "REST read with a token", load: filledReads(o, o.addr, "/v1/secrets/", rest.token), floors: []string{floorGinSealed}},
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

func filledReads(o options, addr, path, token string) *load {
	i := 0
	return &load{addr: addr, conns: o.conns, next: func() []byte {
		i++
		return request("GET", addr, path+filledName(o.pick(i)), token, "")
	}}
}

// asked runs one statement as the superuser on one connection.
func (db *database) asked(sql string, args ...any) []worker {
	return repeat(1, func(int) worker { return db.statement(sql, false, func() []any { return args }) })
}

// connectors open a connection for each statement.
func (db *database) connectors(sql string, args func() []any) worker {
	return func(ctx context.Context) (func() error, func(), error) {
		op := func() error {
			conn, err := pgx.ConnectConfig(ctx, db.config.Copy())
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			_, err = conn.Exec(ctx, sql, args()...)
			return err
		}
		return op, func() {}, nil
	}
}
