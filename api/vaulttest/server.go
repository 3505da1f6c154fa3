package vaulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// Server is the real API in front of a DB: store, local keeper, key agent and HTTP on loopback, as the command wires
// them.
type Server struct {
	// URL has no slash at its end.
	URL string
	// ConsoleURL is where the console is, if VAULT_CONSOLE_LISTEN is set.
	ConsoleURL string
	// AdminToken may do everything that management may.
	AdminToken string
	// AgentSocket is where the database's backends find the key agent.
	AgentSocket string
	// Env is the environment the server was configured with; it holds the master key.
	Env []string

	log    *buffer
	client *http.Client
	stop   func() error
	audit  func() vault.AuditState
}

var serverSeq atomic.Int64

// NewServer starts an API for db and stops it with the test. env are VAULT_*=value settings that replace the harness's
// own: reads are allowed from loopback, everything else has its default. It logs at every level unless they say otherwise.
func NewServer(t testing.TB, db *DB, env ...string) *Server {
	t.Helper()
	s := &Server{Env: db.Environ(t, env...), log: &buffer{}, client: &http.Client{Transport: &http.Transport{}}}
	cfg, _, err := config.Load(func() []string { return s.Env })
	if err != nil {
		t.Fatal(err)
	}
	s.AgentSocket = cfg.Agent.Socket
	s.AdminToken = db.MustToken(t, fmt.Sprintf("test-%d", serverSeq.Add(1)))
	level := slog.LevelDebug
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "VAULT_LOG_LEVEL=") }) {
		level = cfg.LogLevel
	}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: level}))
	limit := cfg.ShutdownTimeout
	svc, err := service.Open(context.Background(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	s.URL, s.ConsoleURL = "http://"+svc.Addr(), svc.ConsoleURL()
	s.stop, s.audit = run(svc, limit), svc.AuditState
	db.serving.add(s)
	t.Cleanup(func() { s.MustStop(t) })
	if s.AgentSocket != "" {
		db.mustUseAgent(t, s.AgentSocket)
	}
	return s
}

// run serves in the background; what it returns stops once and gives the same answer again.
func run(svc *service.Service, limit time.Duration) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	return sync.OnceValue(func() error {
		cancel()
		if err := <-done; err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return svc.Close(limited)
	})
}

// Environ returns the environment for a server of d, with the agent's socket in a new directory of the test's; a later
// entry of env replaces the harness's own.
func (d *DB) Environ(t testing.TB, env ...string) []string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hva")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Of two entries of one name the first counts.
	return append(env[:len(env):len(env)],
		"VAULT_API_LISTEN=127.0.0.1:0", "VAULT_ALLOWED_IPS=127.0.0.1,::1", "VAULT_PG_HOSTS="+d.hosts(),
		"VAULT_PG_PORT="+strconv.Itoa(pgtest.Port), "VAULT_PG_USER="+ServiceRole, "VAULT_PG_DBNAME="+d.Name,
		"VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY="+d.masterKey, "VAULT_NODE_NAME="+d.nodeName(),
		"VAULT_AGENT_SOCKET="+filepath.Join(dir, "agent.sock"), "VAULT_AUDIT_DIR="+filepath.Join(dir, "audit"),
		"VAULT_AGENT_PEERS="+strconv.FormatUint(uint64(d.Cluster.UID()), 10), "VAULT_SHUTDOWN_TIMEOUT_SECS=10",
	)
}

// MustToken makes an admin token that does not expire.
func (d *DB) MustToken(t testing.TB, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	cfg, _, err := config.LoadStore(func() []string {
		return []string{"VAULT_PG_HOSTS=" + d.hosts(), "VAULT_PG_PORT=" + strconv.Itoa(pgtest.Port), "VAULT_PG_DBNAME=" + d.Name}
	})
	if err != nil {
		t.Fatal(err)
	}
	door, closeDoor, err := service.OpenOperator(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closeDoor() }()
	token, err := door.CreateToken(ctx, vault.Operator{Name: "vaulttest"}, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// MustStop stops the server, which must finish what is in flight. It may be called twice.
func (s *Server) MustStop(t testing.TB) {
	t.Helper()
	s.client.CloseIdleConnections()
	if err := s.stop(); err != nil {
		t.Errorf("the server did not stop as it should: %v", err)
	}
}

// Log returns what the server has logged.
func (s *Server) Log() string { return s.log.String() }

// Do sends a request with the admin token and returns status and body. body may be nil, a string of JSON, or anything
// encoding/json takes.
func (s *Server) Do(t testing.TB, method, path string, body any) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, encode(t, body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func encode(t testing.TB, body any) io.Reader {
	t.Helper()
	switch b := body.(type) {
	case nil:
		return http.NoBody
	case string:
		return strings.NewReader(b)
	}
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b)
}

// MustCreate creates a secret of text.
func (s *Server) MustCreate(t testing.TB, name, value string) {
	t.Helper()
	status, answer := s.Do(t, http.MethodPost, "/v1/secrets", map[string]any{"name": name, "kind": "manual", "value": value})
	if status != http.StatusCreated {
		t.Fatalf("create %s: %d %s", name, status, answer)
	}
}

// MustRead returns the current value of a secret of text.
func (s *Server) MustRead(t testing.TB, name string) string {
	t.Helper()
	status, answer := s.Do(t, http.MethodGet, "/v1/secrets/"+name, nil)
	if status != http.StatusOK {
		t.Fatalf("read %s: %d %s", name, status, answer)
	}
	var out struct {
		Value string `json:"value"`
	}
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		t.Fatal(err)
	}
	return out.Value
}

// buffer collects a log from several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
