package clustertest

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// tools are the programs that run.
type tools struct {
	etcd, patroni, pgBin, api string
	etcdAPI                   string // "etcd" (v2) or "etcd3", as Patroni calls them
}

// network gives every place an address of its own in one random /24 of loopback.
type network struct {
	base                            string // "127.3.9."
	pg, rest, api, etcd, etcdServer int
}

func (n network) addr(host, port int) string {
	return net.JoinHostPort(n.base+strconv.Itoa(host), strconv.Itoa(port))
}

// newNetwork finds a /24 and ports on which no process listens, on all addresses either.
func newNetwork() (network, error) {
	n := network{base: fmt.Sprintf("127.%d.%d.", 2+mathrand.IntN(250), mathrand.IntN(250))}
	for _, p := range []struct {
		port  *int
		first int
	}{{&n.pg, 6432}, {&n.rest, 8008}, {&n.api, 8200}, {&n.etcd, 2379}, {&n.etcdServer, 2380}} {
		*p.port = p.first
		for ; *p.port < p.first+200; *p.port += 3 {
			ln, err := net.Listen("tcp", n.addr(1, *p.port))
			if err == nil {
				_ = ln.Close()
				break
			}
		}
		if *p.port >= p.first+200 {
			return n, fmt.Errorf("no free port from %d on", p.first)
		}
	}
	return n, nil
}

// findTools says what is missing.
func findTools() (tools, error) {
	var t tools
	var err, missing error
	if t.patroni, err = exec.LookPath("patroni"); err != nil {
		missing = errors.Join(missing, err)
	} else if t.etcdAPI, err = chooseEtcdAPI(t.patroni); err != nil {
		missing = errors.Join(missing, err)
	}
	if t.etcd, err = exec.LookPath("etcd"); err != nil {
		missing = errors.Join(missing, err)
	}
	out, err := exec.Command(pgConfig(), "--bindir", "--pkglibdir").Output()
	dirs := strings.Fields(string(out))
	if err != nil || len(dirs) != 2 {
		return t, errors.Join(missing, fmt.Errorf("%s does not say where PostgreSQL is: %w", pgConfig(), err))
	}
	t.pgBin = dirs[0]
	for _, f := range []string{filepath.Join(dirs[0], "postgres"), filepath.Join(dirs[1], "hyperion_vault.so")} {
		if _, err := os.Stat(f); err != nil {
			missing = errors.Join(missing, err)
		}
	}
	return t, missing
}

// chooseEtcdAPI is "etcd3" unless Patroni is older than 3.0.3. There a primary that was frozen and wakes writes itself
// over the node that has become the primary meanwhile, without comparing, and acknowledged writes are lost: these tests found
// it. With the older API it compares. HV_CLUSTER_ETCD overrides, to see that.
func chooseEtcdAPI(patroni string) (string, error) {
	if v := os.Getenv("HV_CLUSTER_ETCD"); v != "" {
		return v, nil
	}
	out, err := exec.Command(patroni, "--version").Output()
	var major, minor, patch int
	if _, serr := fmt.Sscanf(string(out), "patroni %d.%d.%d", &major, &minor, &patch); err != nil || serr != nil {
		return "", fmt.Errorf("patroni --version says %q: %w", out, errors.Join(err, serr))
	}
	if major*10000+minor*100+patch < 30003 {
		return "etcd", nil
	}
	return "etcd3", nil
}

func pgConfig() string {
	for _, name := range []string{"HV_PG_CONFIG", "PG_CONFIG"} {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return "pg_config"
}
