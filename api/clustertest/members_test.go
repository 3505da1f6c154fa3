package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// member is a line of Patroni's view of the cluster.
type member struct {
	Name, Role, State string
	Timeline          int
}

// members asks the Patronis in turn, on their own addresses, and returns the first answer.
func (c *cluster) members() []member {
	for _, n := range c.nodes {
		var view struct{ Members []member }
		if err := n.rest(http.MethodGet, "/cluster", nil, &view); err == nil && len(view.Members) > 0 {
			return view.Members
		}
	}
	return nil
}

// leader is who Patroni says is the primary and runs, or nil.
func (c *cluster) leader() *node {
	for _, m := range c.members() {
		if m.Role == "leader" && m.State == "running" {
			return c.node(m.Name)
		}
	}
	return nil
}

func (c *cluster) node(name string) *node {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// others returns the nodes that are not n.
func (c *cluster) others(n *node) (rest []*node) {
	for _, o := range c.nodes {
		if o != n {
			rest = append(rest, o)
		}
	}
	return rest
}

// awaitWhole returns when one node is the primary, two follow it, and as many of them as should acknowledge commits.
func (c *cluster) awaitWhole() error {
	var last error
	if await(settling, func() bool { last = c.whole(); return last == nil }) {
		return nil
	}
	return fmt.Errorf("the cluster is not whole after %s: %w; Patroni sees %v", settling, last, c.members())
}

func (c *cluster) whole() error {
	l := c.leader()
	if l == nil {
		return errors.New("there is no primary")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var streaming, waits, acknowledging int
	var recovery bool
	err = conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE state = 'streaming'), count(*) FILTER (WHERE sync_state <> 'async'),
		(current_setting('synchronous_standby_names') <> '')::int, pg_is_in_recovery() FROM pg_stat_replication
		WHERE application_name LIKE 'node_'`).Scan(&streaming, &acknowledging, &waits, &recovery)
	if err != nil || recovery || streaming != size-1 || acknowledging < waits*(size-1) {
		return fmt.Errorf("%d stream, %d acknowledge, recovery %t: %w", streaming, acknowledging, recovery, err)
	}
	// Patroni fails over only to whom it has written down as synchronous.
	for _, m := range c.members() {
		if m.Role == "sync_standby" {
			return nil
		}
	}
	if waits > 0 {
		return errors.New("Patroni knows no synchronous standby")
	}
	return nil
}

// query asks one node's PostgreSQL for one value, as superuser.
func query[T any](n *node, sql string, args ...any) (v T, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := n.connect(ctx)
	if err != nil {
		return v, err
	}
	defer conn.Close(ctx)
	return v, conn.QueryRow(ctx, sql, args...).Scan(&v)
}

// queryAll asks one node's PostgreSQL for rows.
func queryAll[T any](n *node, sql string, args ...any) ([]T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

func decode(r *http.Response, into any) error {
	if into == nil {
		return nil
	}
	return json.NewDecoder(r.Body).Decode(into)
}
