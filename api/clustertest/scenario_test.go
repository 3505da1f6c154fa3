package clustertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// noFault: what fails under it is not the faults' doing.
func noFault(l *load) ([]*node, []string) {
	l.awaitChanges(50, l.c.nodes...)
	return nil, nil
}

// survey is about local reads of the nodes that no fault touched.
type survey struct {
	answered, refused int
	longest           time.Duration // between two answers at one node
	after             string        // the read that ended it
	example           string        // of refused
}

// survivors checks the readers of nodes.
func (l *load) survivors(nodes ...*node) (s survey) {
	last := map[int]time.Duration{}
	for _, e := range l.h.all() {
		if e.In.Kind != local || e.LSN != "" || !strings.Contains(e.Name, "/kept/") || !contains(nodes, e.Node) {
			continue
		}
		if e.Out.Outcome != ok {
			s.refused++
			s.example = e.String()
			continue
		}
		s.answered++
		if before, found := last[e.Node]; found && e.Return-before > s.longest {
			s.longest, s.after = e.Return-before, e.String()
		}
		last[e.Node] = e.Return
	}
	return s
}

func contains(nodes []*node, i int) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool { return n.i == i })
}

// gapBound is the longest time that a client of a node which nothing has befallen may be without an answer to its local
// reads. It is VAULT_REQUEST_TIMEOUT_SECS, until which an API waits that tries the wrong server; what a busy machine
// adds to the tenth of a second that is usual is far below.
const gapBound = 10 * time.Second

// spared checks the local reads on nodes that are not among victims, and tells what is wrong with them.
func (l *load) spared(victims []*node) (survey, error) {
	s := l.survivors(slices.DeleteFunc(slices.Clone(l.c.nodes), func(n *node) bool { return contains(victims, n.i) })...)
	return s, s.judge()
}

func (s survey) judge() error {
	switch {
	case s.refused > 0:
		return fmt.Errorf("%d reads failed on nodes that nothing had happened to: %s", s.refused, s.example)
	case s.longest > gapBound:
		return fmt.Errorf("reads stood still for %.1f s on a node that nothing had happened to, until %s", s.longest.Seconds(), s.after)
	}
	return nil
}

// print writes the figures of one scenario, in one line that a reader of the log can find.
func (l *load) print(r report, s survey, more ...string) {
	line := fmt.Sprintf("CLUSTER %s: acknowledged writes %d, lost %d, duplicate versions %d, checker ok; unknown %d, refused %d, stale %d",
		strings.TrimPrefix(l.t.Name(), "Test"), r.acknowledged, r.lost, r.duplicates, r.unknown, r.failed, r.stale)
	if s.answered > 0 {
		line += fmt.Sprintf("; reads on surviving nodes %d, failed %d, longest gap %d ms", s.answered, s.refused, s.longest.Milliseconds())
	}
	for _, m := range more {
		line += "; " + m
	}
	fmt.Println(line)
}

// scenario has load, one fault, and everything compared.
func scenario(f fault) func(*testing.T) {
	return func(t *testing.T) {
		l := startLoad(t, whole(t), 1)
		l.suffer(f)
	}
}

// suffer has f break something, and compares everything.
func (l *load) suffer(f fault) {
	l.t.Helper()
	l.awaitChanges(10, l.c.nodes...)
	victims, figures := f(l)
	l.stop()
	s, err := l.spared(victims)
	figures = append(figures, fmt.Sprintf("longest time without an acknowledged write %.1f s", l.longestWait().Seconds()))
	l.print(l.verify(), s, figures...)
	l.must(err)
}
