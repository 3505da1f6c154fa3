package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // a profile of what is measured, on the floor's port
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/store"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
)

// served is a second process with what REST reads are compared to, so that they do not share the generator's
// scheduler: the gin floors, and the vault without an audit.
type served struct {
	gin, bare string // addresses
	run       string // its run name
	cmd       *exec.Cmd
	in        io.Closer
}

// startServed runs this program once more, with -serve.
func startServed(ctx context.Context, args []string) (*served, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"-serve"}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &served{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &s.gin, &s.bare, &s.run)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the second process did not start: %w", err), s.close())
	}
	return s, nil
}

// close ends it and waits for that.
func (s *served) close() error { return errors.Join(s.in.Close(), s.cmd.Wait()) }

// serve is the second process: it says where it listens and ends with its input.
func serve(ctx context.Context, o options) error {
	db, err := openDatabase(ctx, o)
	if err != nil {
		return err
	}
	defer db.close()
	if o.filled > 0 {
		return serveGin(ctx, db)
	}
	c := db.config
	bare, closeBare, err := bareVault(ctx, o, store.Config{
		Hosts: []string{c.Host}, Port: int(c.Port), User: c.User, Password: c.Password, Database: c.Database,
	})
	if err != nil {
		return err
	}
	defer closeBare()
	ginAddr, err := listen(ctx, ginFloor(db.pool))
	if err != nil {
		return err
	}
	bareAddr, err := listen(ctx, bare)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "profiles of the gin floors and the vault without an audit: http://%s/debug/pprof/\n", ginAddr)
	fmt.Println(ginAddr, bareAddr, runName)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serveGin is the second process where there is nothing but the gin floors to compare with.
func serveGin(ctx context.Context, db *database) error {
	ginAddr, err := listen(ctx, ginFloor(db.pool))
	if err != nil {
		return err
	}
	fmt.Println(ginAddr, "none", runName)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func listen(ctx context.Context, h http.Handler) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(l, h) //nolint:errcheck // ends with the process
	return l.Addr().String(), nil
}

// ginFloor is the least a gin service can do: a fixed answer, and the same after one select by primary key.
func ginFloor(pool *pgxpool.Pool) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.GET("/fixed", func(c *gin.Context) { c.JSON(http.StatusOK, answer{Name: "bench", Value: fixedValue}) })
	e.GET("/select", selectOne(pool))
	e.GET("/sealed/*name", selectSealed(pool))
	e.Any("/debug/pprof/*any", gin.WrapH(http.DefaultServeMux))
	return e
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

// selectSealed answers with the sealed value of a name.
func selectSealed(pool *pgxpool.Pool) gin.HandlerFunc {
	return func(c *gin.Context) {
		var key string
		var wrapped, nonce, value []byte
		name := strings.TrimPrefix(c.Param("name"), "/")
		if err := pool.QueryRow(c.Request.Context(), sealedSQL, name).Scan(&key, &wrapped, &nonce, &value); err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
			return
		}
		c.JSON(http.StatusOK, answer{Name: name, Value: base64.StdEncoding.EncodeToString(value)})
	}
}

// forgetful is a recorder that records nothing.
type forgetful struct{}

func (forgetful) Record(context.Context, ...vault.Entry) error { return nil }

// masterKey is the API's: a vault with another one refuses to store anything beside what that one has sealed.
func masterKey(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
}

// bareVault is the REST API as the command wires it, on secrets of its own, without an audit and without a log.
func bareVault(ctx context.Context, o options, c store.Config) (http.Handler, func(), error) {
	master, err := masterKey(o.keyFile)
	if err != nil {
		return nil, nil, err
	}
	local, err := kms.NewLocal(master)
	if err != nil {
		return nil, nil, err
	}
	keeper, err := kms.NewCache(local, kms.CacheConfig{TTL: time.Hour})
	if err != nil {
		return nil, nil, err
	}
	db, err := store.Open(ctx, c)
	if err != nil {
		return nil, nil, errors.Join(err, keeper.Close())
	}
	done := func() { _ = errors.Join(db.Close(context.Background()), keeper.Close()) }
	allow, err := allowlist.Parse("127.0.0.1")
	if err != nil {
		done()
		return nil, nil, err
	}
	v, err := vault.New(vault.Config{Store: db, Keeper: keeper, Recorder: forgetful{}, Allow: allow, Node: "bench", Database: c.Database})
	if err == nil {
		err = fill(ctx, v, o)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return httpapi.New(httpapi.Config{Vault: v, Log: slog.New(slog.DiscardHandler)}), done, nil
}

// fill makes the secrets that are read.
func fill(ctx context.Context, v *vault.Vault, o options) error {
	token, err := v.CreateToken(ctx, vault.Operator{Name: "bench"}, runName, 0)
	if err != nil {
		return err
	}
	caller := vault.Caller{Bearer: vault.Bearer(token.Reveal())}
	for i := range o.secrets {
		r := vault.CreateRequest{Name: secretName(int64(i)), Value: bytes.Repeat([]byte("s"), o.valueLen)}
		if _, err := v.Create(ctx, caller, r); err != nil {
			return fmt.Errorf("create secrets to read: %w", err)
		}
	}
	return nil
}
