package clustertest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// needContainers skips t unless it runs beside a cluster in containers ("make e2e"), and returns that cluster, whole.
func needContainers(t *testing.T) *cluster {
	t.Helper()
	project := os.Getenv("HV_E2E")
	if project == "" {
		t.Skip("runs only in \"make e2e\" (HV_E2E), in a container of its own")
	}
	c := &cluster{
		admin: &http.Client{Timeout: 10 * time.Second}, token: os.Getenv("HV_E2E_TOKEN"), engine: newEngine(project),
		secret: map[string]string{"postgres": os.Getenv("POSTGRES_PASSWORD"), "rest": os.Getenv("PATRONI_PASSWORD")},
	}
	for i := range size {
		name := fmt.Sprintf("node%d", i+1)
		c.nodes = append(c.nodes, &node{c: c, i: i, name: name, at: endpoints{
			api: "http://" + name + ":8200", rest: "http://" + name + ":8008", pg: "sslmode=require host=" + name + " port=5432",
		}})
	}
	if err := c.awaitWhole(); err != nil {
		t.Fatal(errors.Join(err, c.keepLogs(t.Name())))
	}
	return c
}

// TestContainers is what "make e2e" runs: the cluster of docker/docker-compose.yml, first with the previous version's
// packages. The upgrade comes first, so that everything after it tries the new version.
func TestContainers(t *testing.T) {
	c := needContainers(t)
	for _, s := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"Upgrade", upgrade},
		{"Use", use},
		{"Authentication", authentication},
		{"RotationWithGrace", rotationWithGrace},
		{"Fenced", fenced},
		{"Restart", inContainers(restartEach)},
		{"Failover", inContainers(killNode)},
		{"Partition", inContainers(partPrimary)},
	} {
		from := time.Now()
		if !t.Run(s.name, func(t *testing.T) { s.run(t, c) }) {
			if err := errors.Join(c.keepLogs(s.name), c.awaitWhole()); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Printf("E2E %s took %.0f s\n", s.name, time.Since(from).Seconds())
	}
}

// inContainers has load, one fault, and everything compared.
func inContainers(f fault) func(*testing.T, *cluster) {
	return func(t *testing.T, c *cluster) { startLoad(t, c, 1).suffer(f) }
}

// standbysFirst is the order in which nodes are restarted: the primary changes once.
func (l *load) standbysFirst() []*node {
	p := l.primary()
	return append(l.c.others(p), p)
}

// roll does something to each node that takes it away for a while, one after the other.
func (l *load) roll(what string, do func(*node) error) {
	l.t.Helper()
	for _, n := range l.standbysFirst() {
		at := l.h.mark("%s of %s", what, n.name)
		l.must(do(n))
		l.must(n.awaitAPI())
		l.must(l.c.awaitWhole())
		l.broken(n, at)
		l.h.mark("%s of %s is done", what, n.name)
		l.awaitChanges(3, l.c.nodes[n.i])
	}
}

// restartEach stops and starts one node after the other.
func restartEach(l *load) ([]*node, []string) {
	l.roll("restart", func(n *node) error { return errors.Join(l.c.engine.stop(n), l.c.engine.start(n)) })
	return l.c.nodes, []string{"every node restarted"}
}

// The images that the upgrade goes through; scripts/e2e.sh builds them.
const (
	newImage      = "hyperion-vault-node:e2e-new"
	rollbackImage = "hyperion-vault-node:e2e-rollback" // the new one with the API of the previous version
)

// upgrade goes from the previous version to this one and back with the API alone, under load of clients that know all
// three nodes. No read may fail, one change in a hundred may, and no acknowledged change may be lost.
func upgrade(t *testing.T, c *cluster) {
	c.roams = true
	defer func() { c.roams = false }()
	l := startLoad(t, c, 1)
	l.awaitChanges(10, c.nodes...)
	before := l.versions()
	l.roll("upgrade", func(n *node) error { return c.engine.replace(n, newImage) })
	l.must(l.updateExtension())
	after := l.versions()
	l.roll("API's way back", func(n *node) error { return c.engine.replace(n, rollbackImage) })
	back := l.versions()
	l.roll("API's way forth", func(n *node) error { return c.engine.replace(n, newImage) })
	l.awaitAnyChanges(10)
	l.stop()
	figures, err := l.tolerable()
	if apiOf(back) != apiOf(before) || apiOf(after) == apiOf(before) {
		l.fail(fmt.Errorf("the API was not taken back: %s, then %s, then %s", before, after, back))
	}
	l.print(l.verify(), survey{}, figures, fmt.Sprintf("%s, then %s, then %s", before, after, back))
	l.must(err)
}

// awaitAnyChanges returns when count more changes are acknowledged, by whichever node.
func (l *load) awaitAnyChanges(count int) {
	l.t.Helper()
	since := l.h.now()
	if !await(settling, func() bool {
		return l.h.count(func(e entry) bool { return e.acknowledged() && e.Call > since }) >= count
	}) {
		l.fail(errors.New("no changes are acknowledged"))
	}
}

// updateExtension does what an administrator does when a version has a new schema.
func (l *load) updateExtension() error {
	const is = "SELECT installed_version || '>' || default_version FROM pg_available_extensions WHERE name = 'hyperion_vault'"
	p := l.primary()
	versions, err := query[string](p, is)
	if err != nil {
		return err
	}
	if installed, offered, _ := strings.Cut(versions, ">"); installed == offered {
		return nil
	}
	l.h.mark("ALTER EXTENSION hyperion_vault UPDATE (%s)", versions)
	return p.execute("ALTER EXTENSION hyperion_vault UPDATE")
}

// versions says what runs: the extension's schema, and the API of the first node.
func (l *load) versions() string {
	l.t.Helper()
	schema, err := query[string](l.primary(), "SELECT extversion FROM pg_extension WHERE extname = 'hyperion_vault'")
	l.must(err)
	api, err := l.c.engine.run(l.c.nodes[0], "sh", "-c", "hyperion-vault-api version; sha256sum /usr/bin/hyperion-vault-api")
	l.must(err)
	words := strings.Fields(api)
	if len(words) < 2 {
		l.fail(fmt.Errorf("hyperion-vault-api version says %q", api))
	}
	return fmt.Sprintf("schema %s with API %s (%.8s)", schema, words[1], words[len(words)-2])
}

func apiOf(versions string) string {
	_, api, _ := strings.Cut(versions, " with ")
	return api
}

// tolerable reports what failed, and whether it was too much.
func (l *load) tolerable() (figures string, err error) {
	var reads, badReads, changes, badChanges int
	var example string
	for _, e := range l.h.all() {
		bad := e.Out.Outcome == failed || e.Out.Outcome == unknown
		switch {
		case e.change():
			changes++
			if bad {
				badChanges++
			}
		case e.In.Kind == local:
			reads++
			if bad {
				badReads++
				example = e.String()
			}
		}
	}
	figures = fmt.Sprintf("local reads %d, failed %d; changes %d, failed %d", reads, badReads, changes, badChanges)
	switch {
	case badReads > 0:
		err = fmt.Errorf("%d of %d reads failed: %s", badReads, reads, example)
	case badChanges*100 > changes:
		err = fmt.Errorf("%d of %d changes failed", badChanges, changes)
	}
	return figures, err
}
