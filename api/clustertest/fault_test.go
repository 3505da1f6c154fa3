package clustertest

import (
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// fault breaks something under load, repairs it, and returns when the cluster is whole again. It returns the nodes whose
// clients it may have cut off, and what is worth printing.
type fault func(l *load) (victims []*node, figures []string)

// takeover waits until a node that is not old is the primary, and returns it.
func (l *load) takeover(old *node) *node {
	l.t.Helper()
	var next *node
	if !await(settling, func() bool { next = l.c.leader(); return next != nil && next != old }) {
		l.fail(errors.New("no node takes over"))
	}
	l.h.mark("%s is the primary", next.name)
	return next
}

// primary returns the primary, which is there before each fault.
func (l *load) primary() *node {
	l.t.Helper()
	n := l.c.leader()
	if n == nil {
		l.fail(errors.New("there is no primary"))
	}
	return n
}

// pause is the time from the moment from, at which something began to break, to the acknowledgement of the first change
// that matches and was asked for after gone, when it was certainly broken.
func (l *load) pause(from, gone time.Duration, match func(entry) bool) time.Duration {
	l.t.Helper()
	first, found := l.h.firstChange(gone, match)
	if !found {
		l.fail(fmt.Errorf("no change was acknowledged of those that were asked for after %.3f s", gone.Seconds()))
	}
	return first - from
}

// toFirstWrite is pause, to be printed.
func (l *load) toFirstWrite(from, gone time.Duration) string {
	l.t.Helper()
	return fmt.Sprintf("%.1f s from there to the first new acknowledged write", l.pause(from, gone, entry.change).Seconds())
}

// killPrimary is kill -9 of the primary's PostgreSQL and Patroni; it comes back as a standby.
func killPrimary(l *load) ([]*node, []string) { return l.killPrimary(false) }

// killNode is the same with the node's API, whose clients are cut off until it is started again.
func killNode(l *load) ([]*node, []string) { return l.killPrimary(true) }

func (l *load) killPrimary(api bool) ([]*node, []string) {
	old, what, served := l.primary(), "kill -9 of the primary ", l.c.nodes
	if api {
		what, served = "kill -9 of all of the primary's node ", l.c.others(old)
	}
	at := l.h.mark("%s%s", what, old.name)
	l.must(old.kill(api))
	gone := l.h.mark("%s is dead", old.name)
	next := l.takeover(old)
	l.awaitChanges(5, served...)
	l.h.mark("%s starts again", old.name)
	l.must(old.revive())
	l.must(l.c.awaitWhole())
	l.broken(old, at)
	l.awaitChanges(5, l.c.nodes...)
	return []*node{old}, []string{what + old.name + ", then " + next.name + ": " + l.toFirstWrite(at, gone)}
}

// killStandby: changes wait until Patroni has taken the standby off the list, then go on.
func killStandby(l *load) ([]*node, []string) {
	dead := l.c.others(l.primary())[0]
	at := l.h.mark("kill -9 of the standby %s", dead.name)
	l.must(dead.kill(false))
	gone := l.h.mark("%s is dead", dead.name)
	l.awaitChanges(5, l.c.nodes...)
	l.must(dead.revive())
	l.must(l.c.awaitWhole())
	l.broken(dead, at)
	l.awaitChanges(5, l.c.nodes...)
	return []*node{dead}, []string{"kill -9 of standby " + dead.name + ": " + l.toFirstWrite(at, gone)}
}

// switchOver hands the primary over cleanly.
func switchOver(l *load) ([]*node, []string) {
	old := l.primary()
	at := l.h.mark("switchover from %s", old.name)
	err := errors.New("not tried")
	// Refused while Patroni has not written down the standby that it chose.
	if !await(settling, func() bool {
		err = old.rest(http.MethodPost, "/switchover", map[string]any{"leader": old.name}, nil)
		return err == nil || l.c.leader() != old
	}) {
		l.fail(err)
	}
	next := l.takeover(old)
	l.must(l.c.awaitWhole())
	l.broken(old, at)
	l.awaitChanges(5, l.c.nodes...)
	return []*node{old}, []string{"switchover from " + old.name + " to " + next.name}
}

// freezePrimary stops every process of the primary's PostgreSQL and its Patroni, and wakes them when there is another
// primary: a zombie, which believes that it is the primary until its Patroni checks.
func freezePrimary(l *load) ([]*node, []string) { return l.freeze(false) }

// freezeNode does so with the API as well, as when a virtual machine is paused.
func freezeNode(l *load) ([]*node, []string) { return l.freeze(true) }

func (l *load) freeze(api bool) ([]*node, []string) {
	old := l.primary()
	at := l.h.mark("SIGSTOP of %s", old.name)
	stopped, err := old.freeze(api)
	l.must(err)
	gone := l.h.mark("%s stands still", old.name)
	next := l.takeover(old)
	l.awaitChanges(5, l.c.others(old)...)
	l.h.mark("SIGCONT of %s", old.name)
	thaw(stopped)
	l.must(l.c.awaitWhole())
	l.broken(old, at)
	l.awaitChanges(5, l.c.nodes...)
	return []*node{old}, []string{"SIGSTOP of " + old.name + ", then " + next.name + ": " + l.toFirstWrite(at, gone)}
}

// partPrimary cuts the primary off from the others and from etcd. It demotes itself, and another takes over.
func partPrimary(l *load) ([]*node, []string) {
	old := l.primary()
	at := l.h.mark("%s is cut off", old.name)
	l.must(old.setAway(true))
	gone := l.h.mark("nothing passes now")
	next := l.takeover(old)
	l.awaitChanges(5, l.c.others(old)...)
	l.h.mark("%s is back", old.name)
	l.must(old.setAway(false))
	l.must(l.c.awaitWhole())
	l.broken(old, at)
	l.awaitChanges(5, l.c.nodes...)
	return []*node{old}, []string{"cut off " + old.name + ", then " + next.name + ": " + l.toFirstWrite(at, gone)}
}

// killAPIs is kill -9 of each API process in turn, and its start.
func killAPIs(l *load) ([]*node, []string) {
	for _, n := range l.c.nodes {
		l.h.mark("kill -9 of the API of %s", n.name)
		l.must(n.api.stop(syscall.SIGKILL, 10*time.Second))
		l.awaitChanges(3, l.c.others(n)...)
		l.must(n.startAPI())
		l.must(n.awaitAPI())
		l.awaitChanges(3, n)
	}
	return l.c.nodes, []string{"kill -9 of every API in turn"}
}

// loseEtcd freezes two of three etcds. The primary demotes itself, because it can no longer know that it is alone.
func loseEtcd(l *load) ([]*node, []string) {
	old := l.primary()
	at := l.h.mark("the majority of etcd is away")
	for _, e := range l.c.etcds[:2] {
		l.must(e.signal(syscall.SIGSTOP))
	}
	if !await(settling, func() bool { return l.readOnlyEverywhere() }) {
		l.fail(errors.New("the primary does not become read-only"))
	}
	gone := l.h.mark("every node is read-only")
	// Reads go on meanwhile, and changes are refused.
	if !await(settling, func() bool { return l.readsAndRefuses(gone, false) }) {
		l.fail(errors.New("without a primary reads do not go on, or changes are not refused"))
	}
	back := l.h.mark("the majority of etcd is back")
	for _, e := range l.c.etcds[:2] {
		l.must(e.signal(syscall.SIGCONT))
	}
	l.must(l.c.awaitWhole())
	for _, n := range l.c.nodes { // the old primary was restarted; who that was is not worth finding out
		l.broken(n, at)
	}
	l.awaitChanges(5, l.c.nodes...)
	return []*node{old}, []string{fmt.Sprintf("etcd majority away: read-only after %.1f s", (gone - at).Seconds()),
		"back: " + l.toFirstWrite(back, back)}
}

func (l *load) readOnlyEverywhere() bool {
	for _, n := range l.c.nodes {
		recovery, err := query[bool](n, "SELECT pg_is_in_recovery()")
		if err != nil || !recovery {
			return false
		}
	}
	return true
}

// readsAndRefuses reports whether since then every node has answered 20 local reads and a change was refused. deletes tells
// whether those, which need no data key, may be acknowledged.
func (l *load) readsAndRefuses(since time.Duration, deletes bool) bool {
	reads, refused := make([]int, size), 0
	for _, e := range l.h.all() {
		switch {
		case e.Call < since:
		case e.In.Kind == local && e.Out.Outcome == ok:
			reads[e.Node]++
		case deletes && e.change() && !e.keyed():
		case e.change() && (e.Out.Outcome == failed || e.Out.Outcome == unknown):
			refused++
		case e.acknowledged():
			l.fail(fmt.Errorf("a change was acknowledged though no node takes any: %s", e))
		}
	}
	return min(reads[0], reads[1], reads[2]) >= 20 && refused > 0
}

// hangPatroni freezes the primary's Patroni and nothing else: PostgreSQL goes on as a primary beside the new one.
func hangPatroni(l *load) ([]*node, []string) {
	old := l.primary()
	at := l.h.mark("SIGSTOP of the Patroni of %s", old.name)
	l.must(old.patroni.signal(syscall.SIGSTOP))
	next := l.takeover(old)
	two := l.h.mark("two primaries")
	if !await(settling, func() bool {
		return l.h.count(func(e entry) bool {
			return e.change() && e.Call > two && (e.Out.Outcome == failed || e.Out.Outcome == unknown)
		}) >= 20 || l.h.count(func(e entry) bool { return e.acknowledged() && e.Call > two }) >= 20
	}) {
		l.fail(errors.New("changes are neither refused nor acknowledged"))
	}
	during := l.h.count(func(e entry) bool { return e.acknowledged() && e.Call > two })
	l.h.mark("SIGCONT of the Patroni of %s", old.name)
	l.must(old.patroni.signal(syscall.SIGCONT))
	l.must(l.c.awaitWhole())
	over := l.broken(old, at)
	l.twoPrimaries = append(l.twoPrimaries, span{at, over})
	l.awaitChanges(5, l.c.nodes...)
	return []*node{old}, []string{fmt.Sprintf("Patroni of %s hangs, then %s as well: %d changes acknowledged while there were two primaries", old.name, next.name, during)}
}
