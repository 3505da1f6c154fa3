package clustertest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"
)

// node is one machine: PostgreSQL, Patroni and an API process.
type node struct {
	c    *cluster
	i    int
	name string
	dir  string

	patroni     *process
	api         *process
	apiEnv      []string // settings that replace the cluster's
	at          endpoints
	away        []*link // what to cut to part the node from the others
	replication *link   // the one of them on which the others replicate
}

// endpoints are where this process reaches the node, whatever state it is in.
type endpoints struct {
	api  string // the API's URL
	rest string // Patroni's URL
	pg   string // the superuser's connection string
}

func (c *cluster) newNode(i int) (*node, error) {
	n := &node{c: c, i: i, name: fmt.Sprintf("node%d", i+1)}
	n.at = endpoints{
		api: "http://" + n.inner(c.net.api), rest: "http://" + n.inner(c.net.rest),
		pg: "sslmode=disable host=" + filepath.Join(c.dir, n.name, "run") + " port=" + strconv.Itoa(c.net.pg),
	}
	var err error
	if n.dir, err = c.mkdir(n.name, 0o711); err != nil {
		return nil, err
	}
	for _, sub := range []string{"run", "audit"} {
		if _, err := c.mkdir(filepath.Join(n.name, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if err := n.makeLinks(); err != nil {
		return nil, err
	}
	return n, n.configure()
}

// makeLinks makes the ways that others take to this node, and that it takes to etcd and to the other PostgreSQLs.
func (n *node) makeLinks() error {
	ways := [][2]string{
		{n.outer(n.c.net.pg), n.inner(n.c.net.pg)},
		{n.outer(n.c.net.rest), n.inner(n.c.net.rest)},
	}
	for e := range size {
		ways = append(ways, [2]string{n.etcdAddr(e), n.c.net.addr(101+e, n.c.net.etcd)})
	}
	for j := range size {
		if j != n.i {
			ways = append(ways, [2]string{n.peerPG(j), n.c.net.addr(1+j, n.c.net.pg)})
		}
	}
	for _, w := range ways {
		l, err := n.c.link(w[0], w[1])
		if err != nil {
			return err
		}
		n.away = append(n.away, l)
	}
	n.replication = n.away[0]
	return nil
}

// inner is where the node's programs listen, outer where other nodes find them.
func (n *node) inner(port int) string { return n.c.net.addr(1+n.i, port) }
func (n *node) outer(port int) string { return n.c.net.addr(11+n.i, port) }

func (n *node) etcdAddr(e int) string { return n.c.net.addr(120+10*n.i+e, n.c.net.etcd) }
func (n *node) peerPG(j int) string   { return n.c.net.addr(150+10*n.i+j, n.c.net.pg) }

// setAway parts the node from the others, or ends that. Its clients still reach its API, and its API its PostgreSQL.
// Ways that the others take from here to them (replication of a standby) are known by no node's address, so a standby
// goes on following; it is the primary for which this is meant.
func (n *node) setAway(away bool) error {
	if n.c.engine != nil {
		return n.c.engine.setAway(n, away)
	}
	for _, l := range n.away {
		l.setCut(away)
	}
	return nil
}

//go:embed testdata/patroni.yml
var patroniYML string

var patroniTemplate = template.Must(template.New("patroni.yml").Option("missingkey=error").Parse(patroniYML))

// configure writes Patroni's configuration, which holds passwords.
func (n *node) configure() error {
	var etcds []string
	for e := range size {
		etcds = append(etcds, n.etcdAddr(e))
	}
	var b bytes.Buffer
	err := patroniTemplate.Execute(&b, map[string]any{
		"Name": n.name, "Dir": n.dir, "BinDir": n.c.tools.pgBin, "EtcdAPI": n.c.tools.etcdAPI,
		"Etcds": strings.Join(etcds, ","), "RestListen": n.inner(n.c.net.rest), "RestAddress": n.outer(n.c.net.rest),
		"PGListen": n.inner(n.c.net.pg), "PGAddress": n.outer(n.c.net.pg), "Secret": n.c.secret,
		"Network": "127.0.0.0/8", "Watchdog": `"off"`,
	})
	if err != nil {
		return err
	}
	file := filepath.Join(n.dir, "patroni.yml")
	return errors.Join(os.WriteFile(file, b.Bytes(), 0o600), os.Chown(file, n.c.uid, n.c.gid))
}

func (n *node) startPatroni() (err error) {
	n.patroni, err = program{
		name: n.name + " patroni", dir: n.dir, log: filepath.Join(n.dir, "patroni.log"), cred: n.c.cred, env: n.c.environ(),
		argv: []string{n.c.tools.patroni, filepath.Join(n.dir, "patroni.yml")},
	}.start()
	return err
}

// rest asks this node's Patroni, on its own address.
func (n *node) rest(method, path string, body, into any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	if body == nil {
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), 2*time.Second)
	}
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.at.rest+path, r)
	if err != nil {
		return err
	}
	req.SetBasicAuth("patroni", n.c.secret["rest"])
	resp, err := (&http.Client{Transport: http.DefaultTransport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("patroni answers %s: %s", resp.Status, text)
	}
	return decode(resp, into)
}

// connect is a superuser's connection to this node's PostgreSQL, whatever it is at the moment.
func (n *node) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("dbname=postgres user=postgres connect_timeout=3 " + n.at.pg)
	if err != nil {
		return nil, err
	}
	cfg.Password = n.c.secret["postgres"]
	return pgx.ConnectConfig(ctx, cfg)
}

// postmaster is the pid of the node's PostgreSQL, 0 when there is none.
func (n *node) postmaster() int {
	b, err := os.ReadFile(filepath.Join(n.dir, "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, _ := strconv.Atoi(line)
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || !strings.HasPrefix(cwd, n.dir+"/") {
		return 0 // an old file: the kernel gives pids away again
	}
	return pid
}

// apiEnviron is the environment of this node's API: its own PostgreSQL first.
func (n *node) apiEnviron() []string {
	hosts := []string{n.inner(n.c.net.pg)}
	for j := range size {
		if j != n.i {
			hosts = append(hosts, n.peerPG(j))
		}
	}
	own := []string{
		"VAULT_API_LISTEN=" + n.inner(n.c.net.api), "VAULT_ALLOWED_IPS=127.0.0.0/8", "VAULT_NODE_NAME=" + n.name,
		"VAULT_PG_HOSTS=" + strings.Join(hosts, ","), "VAULT_PG_USER=vault_service", "VAULT_PG_DBNAME=postgres",
		"VAULT_PG_PASSWORD=" + n.c.secret["vault_service"], "VAULT_KMS_MODE=local", "VAULT_LOCAL_MASTER_KEY=" + n.c.secret["master"],
		"VAULT_AGENT_SOCKET=" + filepath.Join(n.dir, "run", "agent.sock"), "VAULT_AGENT_PEERS=" + strconv.Itoa(n.c.uid),
		"VAULT_AUDIT_DIR=" + filepath.Join(n.dir, "audit"), "VAULT_ROTATION_POLL_SECS=2",
	}
	env := n.c.environ()
	for _, kv := range append(append(own, n.c.env...), n.apiEnv...) { // of two entries of one name the later counts
		name, _, _ := strings.Cut(kv, "=")
		for i := range env {
			if strings.HasPrefix(env[i], name+"=") {
				env = append(env[:i], env[i+1:]...)
				break
			}
		}
		env = append(env, kv)
	}
	return env
}

func (n *node) startAPI() (err error) {
	n.api, err = program{
		name: n.name + " api", dir: n.dir, log: filepath.Join(n.dir, "api.log"), cred: n.c.cred, env: n.apiEnviron(),
		argv: []string{n.c.tools.api, "serve"},
	}.start()
	return err
}

func (n *node) url() string { return n.at.api }

// awaitAPI returns when the API takes requests.
func (n *node) awaitAPI() error {
	lives := func() bool { return n.c.engine != nil || n.api.running() }
	if await(time.Minute, func() bool {
		r, err := n.c.admin.Get(n.url() + "/healthz")
		if err != nil {
			return !lives()
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	}) && lives() {
		return nil
	}
	if n.c.engine != nil {
		return fmt.Errorf("the API of %s does not serve", n.name)
	}
	log, _ := os.ReadFile(filepath.Join(n.dir, "api.log"))
	return fmt.Errorf("the API of %s does not serve: %s", n.name, log[max(0, len(log)-1500):])
}

// kill is what a machine's end looks like to the others: nothing of it says goodbye. api says whether the API dies too. It
// returns when all of it is dead.
func (n *node) kill(api bool) error {
	if n.c.engine != nil {
		return n.c.engine.kill(n)
	}
	pid := n.postmaster()
	if pid == 0 {
		return fmt.Errorf("%s has no PostgreSQL that could be killed", n.name)
	}
	// Patroni first: it would start PostgreSQL again, and no node would take over.
	if err := n.patroni.stop(syscall.SIGKILL, 10*time.Second); err != nil {
		return err
	}
	if err := killFamily(pid); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	if api {
		return n.api.stop(syscall.SIGKILL, 10*time.Second)
	}
	return nil
}

// freeze stops every process of the node's PostgreSQL and Patroni, and the API's if api says so. It returns when all of
// them stand still, and who they are.
func (n *node) freeze(api bool) (pids []int, err error) {
	pid := n.postmaster()
	if pid == 0 {
		return nil, fmt.Errorf("%s has no PostgreSQL that could be stopped", n.name)
	}
	programs := []*process{n.patroni}
	if api {
		programs = append(programs, n.api)
	}
	for _, p := range programs {
		pids, err = append(pids, p.pid()), errors.Join(err, p.signal(syscall.SIGSTOP))
	}
	family, ferr := freeze(pid)
	pids = append(pids, family...)
	if err = errors.Join(err, ferr); err != nil {
		return pids, err
	}
	return pids, awaitStates(pids, "TtZX")
}

// revive starts what kill ended.
func (n *node) revive() error {
	if n.c.engine != nil {
		return errors.Join(n.c.engine.start(n), n.awaitAPI())
	}
	if err := n.startPatroni(); err != nil {
		return err
	}
	if n.api.running() {
		return nil
	}
	if err := n.startAPI(); err != nil {
		return err
	}
	return n.awaitAPI()
}
