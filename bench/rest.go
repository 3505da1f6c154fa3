package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// runName tells this run's names from those of runs before.
var runName = strconv.FormatInt(time.Now().UnixNano(), 36)

// secretName names the i-th of the secrets that reads choose among and updates change.
func secretName(i int64) string { return nameIn(runName, i) }

func nameIn(run string, i int64) string { return fmt.Sprintf("bench/%s/%d", run, i) }

// rest is the API's side.
type rest struct {
	addr, token string
	secrets     int
	value       string
	next        atomic.Int64
	login       []byte // a request
}

// newREST makes the secrets that are read.
func newREST(ctx context.Context, o options) (*rest, error) {
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return nil, err
	}
	r := &rest{addr: o.addr, token: strings.TrimSpace(string(token)), secrets: o.secrets, value: strings.Repeat("s", o.valueLen)}
	c, err := dial(ctx, r.addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	for i := range r.secrets {
		if _, err := c.do(r.create(secretName(int64(i))), http.StatusCreated, nil); err != nil {
			return nil, fmt.Errorf("create secrets to read: %w", err)
		}
	}
	return r, r.openLogins(c)
}

func (r *rest) create(name string) []byte {
	body, _ := json.Marshal(map[string]string{"name": name, "kind": "manual", "value": r.value}) // strings always encode
	return request("POST", r.addr, "/v1/secrets", r.token, string(body))
}

// worker makes a worker of one connection.
func (r *rest) worker(op func(c *client) error) worker {
	return func(ctx context.Context) (func() error, func(), error) {
		c, err := dial(ctx, r.addr)
		if err != nil {
			return nil, nil, err
		}
		return func() error { return op(c) }, c.close, nil
	}
}

// reads asks addr for one of a run's secrets after the other; token "" is none.
func reads(addr, run, token string, secrets, conns int) *load {
	return readsBelow("/v1/secrets/", addr, run, token, secrets, conns)
}

// kvReads asks for the same as a client of Vault does.
func kvReads(addr, run, token string, secrets, conns int) *load {
	return readsBelow("/v1/secret/data/", addr, run, token, secrets, conns)
}

func readsBelow(path, addr, run, token string, secrets, conns int) *load {
	reqs := make([][]byte, secrets)
	for i := range reqs {
		reqs[i] = request("GET", addr, path+nameIn(run, int64(i)), token, "")
	}
	return cycle(addr, conns, reqs)
}

// batchReads asks for n of a run's secrets at a time.
func batchReads(addr, run string, secrets, conns, n int) *load {
	reqs := make([][]byte, 16)
	for i := range reqs {
		names := make([]string, n)
		for j := range names {
			names[j] = nameIn(run, int64((i*n+j)%secrets))
		}
		body, _ := json.Marshal(map[string][]string{"names": names}) // strings always encode
		reqs[i] = request("POST", addr, "/v1/batch-read", "", string(body))
	}
	return cycle(addr, conns, reqs)
}

func cycle(addr string, conns int, reqs [][]byte) *load {
	i := 0
	return &load{addr: addr, conns: conns, next: func() []byte { i++; return reqs[i%len(reqs)] }}
}

func (r *rest) creators(n int) []worker {
	return repeat(n, func(int) worker {
		return r.worker(func(c *client) error {
			name := fmt.Sprintf("bench/%s/rest/%d", runName, r.next.Add(1))
			_, err := c.do(r.create(name), http.StatusCreated, nil)
			return err
		})
	})
}

// updaters change one secret each, naming the version they replace as every client must. Which one it is at first they
// ask: an earlier run has changed it.
func (r *rest) updaters(n int) []worker {
	return repeat(n, func(i int) worker {
		path := "/v1/secrets/" + secretName(int64(i%r.secrets))
		body, _ := json.Marshal(map[string]string{"value": r.value})
		etag := ""
		return r.worker(func(c *client) error {
			if etag == "" {
				h, err := c.do(request("GET", r.addr, path, "", ""), http.StatusOK, nil)
				if err != nil {
					return err
				}
				etag = h.Get("ETag")
			}
			h, err := c.do(request("PUT", r.addr, path, r.token, string(body), "If-Match: "+etag), http.StatusOK, nil)
			if err != nil {
				return err
			}
			if etag = h.Get("ETag"); etag == "" {
				return errors.New("the answer to an update has no ETag")
			}
			return nil
		})
	})
}
