package clustertest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// loadWithoutFaults: what fails here is not the faults' doing.
func loadWithoutFaults(t *testing.T) {
	l := startLoad(t, whole(t), 1)
	l.awaitChanges(60, l.c.nodes...)
	l.print(l.verify(), nil)
}

// survey is about local reads of the nodes that no fault touched.
type survey struct {
	answered, refused int
	longest           time.Duration // between two answers at one node
	example           string
}

// survivors looks at the readers of nodes.
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
		if before, found := last[e.Node]; found {
			s.longest = max(s.longest, e.Return-before)
		}
		last[e.Node] = e.Return
	}
	return s
}

func contains(nodes []*node, i int) bool {
	for _, n := range nodes {
		if n.i == i {
			return true
		}
	}
	return false
}

// print writes the figures of one scenario, in one line that a reader of the log can find.
func (l *load) print(r report, s *survey, more ...string) {
	line := fmt.Sprintf("CLUSTER %s: acknowledged writes %d, lost %d, duplicate versions %d, checker ok; unknown %d, refused %d, stale %d",
		strings.TrimPrefix(l.t.Name(), "Test"), r.acknowledged, r.lost, r.duplicates, r.unknown, r.failed, r.stale)
	if s != nil {
		line += fmt.Sprintf("; reads on surviving nodes %d, failed %d, longest gap %d ms", s.answered, s.refused, s.longest.Milliseconds())
	}
	for _, m := range more {
		line += "; " + m
	}
	fmt.Println(line)
}

// ofPrimary has load, one fault of the primary, and everything compared.
func ofPrimary(f fault) func(*testing.T) {
	return func(t *testing.T) {
		scenarioOn(t, func(l *load) (*node, []string) {
			old := l.primary()
			return old, f(l)
		})
	}
}

// scenarioOn is for a fault that says whom it befalls.
func scenarioOn(t *testing.T, f func(*load) (*node, []string)) {
	l := startLoad(t, whole(t), 1)
	l.awaitChanges(10, l.c.nodes...)
	victim, figures := f(l)
	l.stop()
	s := l.survivors(l.c.others(victim)...)
	figures = append(figures, fmt.Sprintf("longest time without an acknowledged write %.1f s", l.longestWait().Seconds()))
	l.print(l.verify(), &s, figures...)
	if s.refused > 0 {
		l.fail(fmt.Errorf("%d reads failed on nodes that nothing had happened to: %s", s.refused, s.example))
	}
}

func standbyDies(t *testing.T) { scenarioOn(t, killStandby) }

// apisDie: API processes die with requests in their hands.
func apisDie(t *testing.T) {
	l := startLoad(t, whole(t), 1)
	l.awaitChanges(10, l.c.nodes...)
	figures := killAPIs(l)
	l.print(l.verify(), nil, figures...)
}
