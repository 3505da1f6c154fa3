package clustertest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// size is the number of PostgreSQL nodes, and of etcds.
const size = 3

// settling bounds how long the cluster may take to be whole after a fault. It is for machines that are busy with other
// things; 20 to 30 s are usual.
const settling = 3 * time.Minute

// cluster is three nodes, each PostgreSQL, Patroni and API, and three etcds.
type cluster struct {
	dir   string
	tools tools
	net   network
	cred  *syscall.Credential
	uid   int
	gid   int

	etcds  []*process
	nodes  []*node
	links  []*link
	guard  *guard
	env    []string // what the API processes have beside their own
	token  string
	admin  *http.Client
	secret map[string]string // passwords and keys of this run
	engine *engine           // runs the nodes as containers, if they are
	roams  bool              // new clients turn to the next node when theirs takes no connection
	timing string            // how long each step of the start took
}

// newCluster starts everything and returns when it is whole, with the extension, a service role and an admin token.
// extra are settings of the API processes. On an error nothing is left.
func newCluster(t tools, extra ...string) (*cluster, error) {
	dir, err := os.MkdirTemp("/tmp", "hvc") // short: sockets' paths are limited
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, tools: t, uid: os.Getuid(), gid: os.Getgid(), env: extra, admin: &http.Client{Timeout: 10 * time.Second}, secret: map[string]string{}}
	if c.guard, err = startGuard(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.keepLogs("start"), c.close())
	}
	return c, nil
}

func (c *cluster) start() error {
	for _, s := range []string{"postgres", "replicator", "rewind", "vault_service", "master", "rest"} {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		c.secret[s] = base64.StdEncoding.EncodeToString(key)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"user", c.findUser}, {"network", c.findNetwork}, {"build", c.build}, {"etcd", c.startEtcds}, {"nodes", c.makeNodes},
		{"patroni", c.startPatronis}, {"extension", c.createExtension}, {"api", c.startAPIs},
	} {
		startedAt := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		c.timing += fmt.Sprintf(" %s %.1f s", step.name, time.Since(startedAt).Seconds())
	}
	return nil
}

func (c *cluster) findNetwork() (err error) {
	c.net, err = newNetwork()
	return err
}

// findUser decides who runs the programs: PostgreSQL refuses to be root.
func (c *cluster) findUser() error {
	if err := os.Chmod(c.dir, 0o755); err != nil {
		return err
	}
	if c.uid != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	c.uid, c.gid = uid, gid
	c.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(uerr, gerr, os.Chown(c.dir, uid, gid))
}

// mkdir makes a directory of the programs' user.
func (c *cluster) mkdir(name string, mode os.FileMode) (string, error) {
	dir := filepath.Join(c.dir, name)
	return dir, errors.Join(os.MkdirAll(dir, mode), os.Chmod(dir, mode), os.Chown(dir, c.uid, c.gid))
}

// build makes the product's binary, once for all nodes. With the Makefile's flags most of it has been compiled already.
func (c *cluster) build() error {
	bin, err := c.mkdir("bin", 0o755)
	if err != nil {
		return err
	}
	c.tools.api = filepath.Join(bin, "hyperion-vault-api")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", c.tools.api, "github.com/hyperiondb/hyperion-vault/api/cmd/hyperion-vault-api")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

func (c *cluster) etcdURL(e int, port int) string { return "http://" + c.net.addr(101+e, port) }

func (c *cluster) startEtcds() error {
	c.etcds = make([]*process, size)
	for e := range size {
		if err := c.startEtcd(e); err != nil {
			return err
		}
	}
	if !await(settling, func() bool { return c.etcdHealthy() == size }) {
		return errors.New("etcd does not become healthy")
	}
	return nil
}

// startEtcd starts one etcd, or starts it again on its data.
func (c *cluster) startEtcd(e int) error {
	dir, err := c.mkdir(fmt.Sprintf("etcd%d", e+1), 0o700)
	if err != nil {
		return err
	}
	var peers []string
	for i := range size {
		peers = append(peers, fmt.Sprintf("etcd%d=%s", i+1, c.etcdURL(i, c.net.etcdServer)))
	}
	var v2 []string // newer etcds no longer know the flag
	if c.tools.etcdAPI == "etcd" {
		v2 = []string{"--enable-v2"}
	}
	// Slower than etcd's own 100 ms and 1 s: three etcds, three PostgreSQLs and the load share a small machine.
	c.etcds[e], err = program{
		name: fmt.Sprintf("etcd%d", e+1), dir: dir, log: filepath.Join(dir, "etcd.log"), cred: c.cred, env: c.environ(),
		argv: append([]string{
			c.tools.etcd, "--name", fmt.Sprintf("etcd%d", e+1), "--data-dir", filepath.Join(dir, "data"),
			"--listen-client-urls", c.etcdURL(e, c.net.etcd), "--advertise-client-urls", c.etcdURL(e, c.net.etcd),
			"--listen-peer-urls", c.etcdURL(e, c.net.etcdServer), "--initial-advertise-peer-urls", c.etcdURL(e, c.net.etcdServer),
			"--initial-cluster", strings.Join(peers, ","), "--heartbeat-interval", "250", "--election-timeout", "2500",
		}, v2...),
	}.start()
	return err
}

func (c *cluster) etcdHealthy() (n int) {
	for e := range size {
		r, err := c.admin.Get(c.etcdURL(e, c.net.etcd) + "/health")
		if err != nil {
			continue
		}
		if r.StatusCode == http.StatusOK {
			n++
		}
		_ = r.Body.Close()
	}
	return n
}

func (c *cluster) environ() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=" + c.dir}
}

// link makes a way from one address to another that can be cut.
func (c *cluster) link(from, to string) (*link, error) {
	l, err := newLink(from, to)
	if err == nil {
		c.links = append(c.links, l)
	}
	return l, err
}

func (c *cluster) makeNodes() error {
	for i := range size {
		n, err := c.newNode(i)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

// startPatronis starts the first alone, so that it is the one that makes the cluster.
func (c *cluster) startPatronis() error {
	for _, n := range c.nodes {
		if err := n.startPatroni(); err != nil {
			return err
		}
		if n.i == 0 && !await(settling, func() bool { return c.leader() == n }) {
			return errors.New("the first node does not become the primary")
		}
	}
	return c.awaitWhole()
}

func (c *cluster) createExtension() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := c.leader().connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		"CREATE EXTENSION hyperion_vault",
		"CREATE ROLE vault_service LOGIN PASSWORD '" + c.secret["vault_service"] + "'",
		"SELECT vault.grant_service_role('vault_service')",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", strings.Fields(sql)[:3], err)
		}
	}
	cmd := exec.CommandContext(ctx, c.tools.api, "token", "create", "clustertest")
	cmd.Env, cmd.SysProcAttr, cmd.Dir = c.nodes[0].apiEnviron(), &syscall.SysProcAttr{Credential: c.cred}, c.dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("token create: %w", err)
	}
	c.token = strings.TrimSpace(string(out))
	// An API whose own PostgreSQL does not know its role yet would begin by reading from another.
	return c.awaitReplay()
}

func (c *cluster) startAPIs() error {
	for _, n := range c.nodes {
		if err := n.startAPI(); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := n.awaitAPI(); err != nil {
			return err
		}
	}
	return nil
}

// configure changes Patroni's settings of the whole cluster, and returns when the primary has them and is whole.
func (c *cluster) configure(change map[string]any, check, want string) error {
	if err := c.nodes[0].rest(http.MethodPatch, "/config", change, nil); err != nil {
		return err
	}
	if !await(settling, func() bool {
		l := c.leader()
		if l == nil {
			return false
		}
		got, err := query[string](l, check)
		return err == nil && strings.Contains(got, want)
	}) {
		return fmt.Errorf("%s does not become %q", check, want)
	}
	return c.awaitWhole()
}

// close ends everything and leaves nothing, whatever state it is in.
func (c *cluster) close() error {
	for _, l := range c.links {
		l.close()
	}
	c.admin.CloseIdleConnections()
	return c.guard.release()
}

// keepLogs copies what the nodes have logged to a directory that stays, and prints where.
func (c *cluster) keepLogs(name string) error {
	dir := artifacts(name)
	if c.engine != nil {
		return c.engine.keepLogs(c.nodes, dir)
	}
	return errors.Join(
		exec.Command("sh", "-c", `cd "$1" && for f in */*.log */*.yml; do [ ! -f "$f" ] || cp "$f" "$2/$(echo "$f" | tr / -)"; done`,
			"sh", c.dir, dir).Run(),
		// No test run may leave passwords about.
		exec.Command("sh", "-c", `sed -i -E 's/(password: ).*/\1.../' "$1"/*.yml 2>/dev/null || true`, "sh", dir).Run())
}

// artifacts makes a directory for what helps to understand a failure.
func artifacts(name string) string {
	base := os.Getenv("HV_CLUSTER_ARTIFACTS")
	if base == "" {
		base = os.TempDir()
	}
	dir, err := os.MkdirTemp(base, "hv-cluster-"+strings.NewReplacer("/", "-", " ", "-").Replace(name)+"-")
	if err != nil {
		panic(err)
	}
	fmt.Printf("kept for inspection: %s\n", dir)
	return dir
}

// shared is the cluster that the scenarios use one after the other; each leaves it whole.
var shared *cluster

// whole returns the shared cluster, with all its nodes up.
func whole(t *testing.T) *cluster {
	t.Helper()
	found := need(t)
	if shared == nil {
		c, err := newCluster(found)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("CLUSTER start:" + c.timing)
		shared = c
	}
	c := shared
	t.Cleanup(func() {
		if t.Failed() {
			c.giveUp(t) // in whatever state it is
		}
	})
	if err := c.awaitWhole(); err != nil {
		_ = c.keepLogs(t.Name())
		t.Fatal(err)
	}
	return c
}

// giveUp closes the cluster; the next test gets another one.
func (c *cluster) giveUp(t *testing.T) {
	if shared != c {
		return
	}
	shared = nil
	if err := c.close(); err != nil {
		t.Error(err)
	}
}
