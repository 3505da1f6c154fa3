package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/audit"
	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/rotator"
	"github.com/hyperiondb/hyperion-vault/api/store"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// childVariable makes this test binary another program: "serve" is the API, a step of vault is a rotator that kills
// itself there.
const childVariable = "HV_ROTATOR_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(vaulttest.Main(m, vaulttest.Options{}))
}

func child(role string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	env := func() []string { return os.Environ() }
	cfg, _, err := config.Load(env)
	if err == nil && role == "serve" {
		err = serve(ctx, cfg)
	} else if err == nil {
		err = rotateUntil(ctx, cfg, role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, cfg config.Config) error {
	svc, err := service.Open(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	fmt.Println(svc.Addr())
	limit := cfg.ShutdownTimeout
	err = svc.Run(ctx)
	closing, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return errors.Join(err, svc.Close(closing))
}

// rotateUntil rotates and dies, as by a power cut, at a step.
func rotateUntil(ctx context.Context, cfg config.Config, step string) error {
	w, err := open(ctx, cfg, func(at string) {
		if at == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	if err != nil {
		return err
	}
	defer w.close()
	rotator.New(rotator.Config{Door: w.door, Log: quiet, Poll: 50 * time.Millisecond, Lease: shortLease, Timeout: shortLease / 2}).Run(ctx)
	return nil
}

const shortLease = 2 * time.Second

// wired is a door on a real database.
type wired struct {
	db     *store.DB
	keeper *kms.Local
	door   *vault.Vault
}

func open(ctx context.Context, cfg config.Config, step func(string)) (*wired, error) {
	w := &wired{}
	var err error
	if w.keeper, err = kms.NewLocal(cfg.KMS.MasterKey); err != nil {
		return nil, err
	}
	w.db, err = store.Open(ctx, store.Config{
		Hosts: cfg.Postgres.Hosts, Port: int(cfg.Postgres.Port), User: cfg.Postgres.User, Database: cfg.Postgres.Database,
	})
	if err != nil {
		return nil, err
	}
	w.door, err = vault.New(vault.Config{
		Store: w.db, Keeper: w.keeper, Recorder: audit.NewDirect(w.db), Allow: cfg.AllowedIPs, Node: cfg.NodeName,
		Database: cfg.Postgres.Database, Step: step,
	})
	return w, err
}

func (w *wired) close() {
	_, _ = w.db.Close(context.Background()), w.keeper.Close()
}

// bench is a database whose time the test sets, and a door to it.
type bench struct {
	*wired
	t    *testing.T
	db   *vaulttest.DB
	env  []string
	conn *pgx.Conn // superuser
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, db: vaulttest.NewDB(t)}
	b.env = b.db.Environ(t)
	b.conn = b.db.MustConnect(t, vaulttest.Superuser)
	b.wired = b.mustOpen()
	return b
}

func (b *bench) mustOpen() *wired {
	b.t.Helper()
	cfg, _, err := config.Load(func() []string { return b.env })
	if err != nil {
		b.t.Fatal(err)
	}
	w, err := open(context.Background(), cfg, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(w.close)
	return w
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.conn.Exec(context.Background(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

func one[T any](b *bench, sql string, args ...any) T {
	b.t.Helper()
	rows, _ := b.conn.Query(context.Background(), sql, args...)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// await asks until the answer is true.
func (b *bench) await(what, sql string, args ...any) {
	b.t.Helper()
	pgtest.Eventually(b.t, what, func() bool { return one[bool](b, sql, args...) })
}

// due makes secrets whose rotation has been enqueued.
func (b *bench) due(names ...string) {
	b.t.Helper()
	for _, name := range names {
		b.mustCreate(vault.CreateRequest{Name: name, Kind: "automatic", RotationIntervalSecs: 3600, GracePeriodSecs: 600})
	}
	b.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() WHERE name = ANY ($1)", names)
	b.exec("SELECT vault.supervise(10000, true)")
}

func (b *bench) mustCreate(r vault.CreateRequest) {
	b.t.Helper()
	token := b.db.MustToken(b.t, "t"+fmt.Sprint(time.Now().UnixNano()))
	if _, err := b.door.Create(context.Background(), vault.Caller{Bearer: vault.Bearer(token)}, r); err != nil {
		b.t.Fatal(err)
	}
}

// startChild runs this binary in a role.
func (b *bench) startChild(role string, env ...string) *process {
	b.t.Helper()
	return startProcess(b.t, append(append([]string{childVariable + "=" + role}, env...), b.env...))
}

type process struct {
	cmd    *exec.Cmd
	out    *pgtest.Log
	log    *pgtest.Log
	exited chan struct{}
}

func startProcess(t testing.TB, env []string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], "-test.run=^$"), out: &pgtest.Log{}, log: &pgtest.Log{}, exited: make(chan struct{})}
	// Here, the first entry of a name counts; for a process it is the last.
	env = slices.Clone(env)
	slices.Reverse(env)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p.out, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.exited
}

// wait fails unless the process is killed within the patience.
func (p *process) wait(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(pgtest.Patience)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		t.Fatalf("the process lives on:\n%s", p.log)
	}
	if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
		t.Fatalf("the process ended by itself, %v:\n%s", s, p.log)
	}
}
