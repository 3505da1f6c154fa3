package main

import (
	"context"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ginFloor is the least a gin service can do: a fixed answer, and the same after one select by primary key.
type ginFloor struct {
	addr   string
	server *http.Server
}

// startGin serves on a free loopback port until close.
func startGin(ctx context.Context, db *database) (*ginFloor, error) {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.GET("/fixed", func(c *gin.Context) { c.JSON(http.StatusOK, answer{Name: "bench", Value: fixedValue}) })
	e.GET("/select", selectOne(db.pool))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &ginFloor{addr: l.Addr().String(), server: &http.Server{Handler: e}}
	go g.server.Serve(l) //nolint:errcheck // ends with close
	return g, nil
}

// answer is about as long as the vault's.
type answer struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const fixedValue = "0123456789abcdef0123456789abcdef"

func selectOne(pool *pgxpool.Pool) gin.HandlerFunc {
	return func(c *gin.Context) {
		a := answer{Name: "bench"}
		err := pool.QueryRow(c.Request.Context(), selectSQL, 1).Scan(&a.Value)
		if err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
			return
		}
		c.JSON(http.StatusOK, a)
	}
}

func (g *ginFloor) close() { g.server.Close() }

func (g *ginFloor) clients(n int, path string) []worker {
	return repeat(n, func(int) worker {
		return func(ctx context.Context) (func() error, func(), error) {
			c, err := dial(ctx, g.addr)
			if err != nil {
				return nil, nil, err
			}
			req := request("GET", g.addr, path, "", "")
			return func() error { _, err := c.do(req, http.StatusOK, nil); return err }, c.close, nil
		}
	})
}

// repeat makes n workers, numbered from 0.
func repeat(n int, make func(i int) worker) []worker {
	var w []worker
	for i := range n {
		w = append(w, make(i))
	}
	return w
}
