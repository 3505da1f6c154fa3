package clustertest

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchLimit bounds the search for a linearization. Not finding an end of it is a failure of the test, not a success.
const searchLimit = time.Minute

// register is what a secret is to its users: absent, or a version and a value, each change of which names what it
// replaces.
type register struct {
	version uint64 // 0: there is no such secret
	used    uint64 // the last version of the one that was deleted, whose numbers are not used again
	value   string
	hidden  bool // made by the server, and not read yet
}

// model says which answers are right. A secret is checked by itself.
var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) {
		r, o := state.(register), out.(output)
		if o.Outcome == unknown {
			return true, r.attempt(in.(input))
		}
		next, right := r.step(in.(input), o)
		return right, next
	},
	DescribeOperation: func(in, out any) string {
		i, o := in.(input), out.(output)
		return strings.TrimSpace(fmt.Sprintf("%s %s if %d: %s %d %s", i.Kind, i.Value, i.Expect, o.Outcome, o.Version, o.Value))
	},
	DescribeState: func(state any) string { r := state.(register); return fmt.Sprintf("%d %s", r.version, r.value) },
}

// attempt is what becomes of r by a change whose outcome is unknown: it is done where it can be. That it was not done
// at all is the case in which its place is at the end, which is open.
func (r register) attempt(in input) register {
	matches := r.version != 0 && (in.Expect == 0 || in.Expect == r.version)
	switch {
	case in.Kind == create && r.version == 0:
		return register{version: r.used + 1, value: in.Value}
	case in.Kind == update && matches:
		return register{version: r.version + 1, value: in.Value}
	case in.Kind == rotate && matches:
		return register{version: r.version + 1, hidden: true}
	case in.Kind == remove && matches:
		return register{used: r.version}
	}
	return r
}

// step reports whether the answer is right in r, and what r is afterwards.
func (r register) step(in input, out output) (register, bool) {
	switch out.Outcome {
	case missing:
		return r, r.version == 0 && in.Kind != create
	case exists:
		return r, r.version != 0 && in.Kind == create
	case stale:
		return r, r.version != 0 && in.Expect != 0 && in.Expect != r.version
	case ok:
	default:
		return r, false
	}
	switch in.Kind {
	case read:
		return r.observe(out)
	case verify:
		return r, r.version != 0 && out.Valid == (!r.hidden && r.value == in.Value) && (!out.Valid || out.Version == r.version)
	case create:
		next := r.attempt(in)
		return next, r.version == 0 && out.Version == next.version
	case remove:
		return r.attempt(in), r.version != 0 && (in.Expect == 0 || in.Expect == r.version)
	}
	next := r.attempt(in)
	return next, next.version == r.version+1 && out.Version == next.version
}

// observe is a read. What the server made up is learned by the first read of it; clients' own values begin with "w-".
func (r register) observe(out output) (register, bool) {
	if r.version == 0 || out.Version != r.version {
		return r, false
	}
	if r.hidden {
		return register{version: r.version, value: out.Value}, !strings.HasPrefix(out.Value, "w-")
	}
	return r, out.Value == r.value
}

// checkable reports whether e is a part of the history that must be linearizable: what was said not to have happened has
// had no effect, and a local read promises less.
func checkable(e entry) bool {
	return e.In.Kind != local && e.Out.Outcome != failed && (e.change() || e.Out.Outcome != unknown)
}

// trusted leaves out the reads of the primary, and refusals that come from reading it, that touch one of spans.
func trusted(entries []entry, spans []span) (rest []entry) {
	for _, e := range entries {
		inside := slices.ContainsFunc(spans, func(s span) bool { return e.Call <= s.to && e.Return >= s.from })
		if !inside || e.acknowledged() || e.change() && e.Out.Outcome == unknown {
			rest = append(rest, e)
		}
	}
	return rest
}

// linearizable checks every secret's history, and writes a picture of one that is not to dir.
func linearizable(entries []entry, dir func() string) error {
	byName := map[string][]porcupine.Operation{}
	for _, e := range entries {
		if !checkable(e) {
			continue
		}
		op := porcupine.Operation{ClientId: e.Client, Input: e.In, Output: e.Out, Call: int64(e.Call), Return: int64(e.Return)}
		if e.Out.Outcome == unknown {
			op.Return = math.MaxInt64
		}
		byName[e.Name] = append(byName[e.Name], op)
	}
	var wrong []string
	for _, name := range slices.Sorted(mapsKeys(byName)) {
		result, info := porcupine.CheckOperationsVerbose(model, byName[name], searchLimit)
		if result == porcupine.Ok {
			continue
		}
		file := filepath.Join(dir(), strings.ReplaceAll(name, "/", "_")+".html")
		err := porcupine.VisualizePath(model, info, file)
		wrong = append(wrong, fmt.Sprintf("%s (%d operations): %s, %s %v", name, len(byName[name]), result, file, err))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not linearizable: %s", strings.Join(wrong, "; "))
	}
	return nil
}

func mapsKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// span is a time in which less is promised.
type span struct{ from, to time.Duration }

// monotonic checks that on one node no local read shows an older version than one that had ended before it began.
// Only secrets that are never deleted can be judged so. breaks are the times in which the node's own PostgreSQL was
// not there, so that its API read from another: what came before and after such a time is not compared. A read that
// presents an LSN may be answered by the primary, which shows a change only when its standbys have acknowledged it; a
// standby shows it earlier. So those reads are left to readYourWrites.
func monotonic(entries []entry, breaks map[int][]span) error {
	type place struct {
		node int
		name string
	}
	reads := map[place][]entry{}
	for _, e := range entries {
		if e.In.Kind == local && e.LSN == "" && e.Out.Outcome == ok {
			p := place{e.Node, e.Name}
			reads[p] = append(reads[p], e)
		}
	}
	for p, all := range reads {
		for _, epoch := range epochs(all, breaks[p.node]) {
			if err := ascending(epoch); err != nil {
				return err
			}
		}
	}
	return nil
}

// epochs parts reads at the breaks; those that touch a break are left out.
func epochs(all []entry, breaks []span) [][]entry {
	parts := make([][]entry, len(breaks)+1)
next:
	for _, e := range all {
		k := 0
		for _, b := range breaks {
			if e.Call <= b.to && e.Return >= b.from {
				continue next
			}
			if e.Call > b.to {
				k++
			}
		}
		parts[k] = append(parts[k], e)
	}
	return parts
}

// ascending compares each read with the newest version of those that ended before it began.
func ascending(reads []entry) error {
	byCall := slices.Clone(reads)
	slices.SortFunc(byCall, func(a, b entry) int { return cmp.Compare(a.Call, b.Call) })
	byReturn := slices.Clone(reads)
	slices.SortFunc(byReturn, func(a, b entry) int { return cmp.Compare(a.Return, b.Return) })
	var newest entry
	k := 0
	for _, e := range byCall {
		for ; k < len(byReturn) && byReturn[k].Return < e.Call; k++ {
			if byReturn[k].Out.Version > newest.Out.Version {
				newest = byReturn[k]
			}
		}
		if e.Out.Version < newest.Out.Version {
			return fmt.Errorf("a local read went back:\n%s\n%s", newest, e)
		}
	}
	return nil
}

// readYourWrites checks that a local read which presents the LSN of a change shows that change or a newer version.
func readYourWrites(entries []entry) error {
	for _, e := range entries {
		if e.In.Kind == local && e.AtLeast > 0 && (e.Out.Outcome == missing || e.Out.Outcome == ok && e.Out.Version < e.AtLeast) {
			return fmt.Errorf("a read with the LSN of version %d does not see it: %s", e.AtLeast, e)
		}
	}
	return nil
}

// honest checks that every value that a local read shows was written, or may have been, as that version. breaks are as of
// monotonic: a primary that is left behind ends the wait of a commit for its standbys, and then shows it. Its client is
// told stale in the end, when the new primary has another version under that number; the old one shows it until it has
// come back as a standby.
func honest(entries []entry, breaks map[int][]span) error {
	type cell struct {
		name    string
		version uint64
	}
	written, open, made := map[cell][]string{}, map[string][]string{}, map[string]bool{}
	left := map[cell][]string{}
	for _, e := range entries {
		switch {
		case e.acknowledged():
			written[cell{e.Name, e.Out.Version}] = append(written[cell{e.Name, e.Out.Version}], e.In.Value)
		case e.change() && e.Out.Outcome == stale:
			left[cell{e.Name, e.In.Expect + 1}] = append(left[cell{e.Name, e.In.Expect + 1}], e.In.Value)
		case e.change() && e.Out.Outcome == unknown:
			open[e.Name] = append(open[e.Name], e.In.Value)
		}
		made[e.Name] = made[e.Name] || e.In.Kind == rotate
	}
	for _, e := range entries {
		if e.In.Kind != local || e.Out.Outcome != ok {
			continue
		}
		generated := !strings.HasPrefix(e.Out.Value, "w-") && made[e.Name]
		leftBehind := slices.ContainsFunc(breaks[e.Node], func(b span) bool { return e.Call <= b.to }) &&
			slices.Contains(left[cell{e.Name, e.Out.Version}], e.Out.Value)
		if !generated && !leftBehind && !slices.Contains(written[cell{e.Name, e.Out.Version}], e.Out.Value) && !slices.Contains(open[e.Name], e.Out.Value) {
			return fmt.Errorf("a local read shows what no client wrote as that version: %s", e)
		}
	}
	return nil
}

// unexpected returns the answers that no fault explains.
func unexpected(entries []entry) error {
	for _, e := range entries {
		if e.Out.Outcome == odd {
			return fmt.Errorf("an answer that no fault explains: %s", e)
		}
	}
	return nil
}

// writeHistory keeps the history as text beside the pictures.
func writeHistory(h *history, dir string) error {
	var b strings.Builder
	for _, m := range h.marks {
		fmt.Fprintf(&b, "%9.3f ---- %s\n", m.at.Seconds(), m.what)
	}
	for _, e := range h.all() {
		fmt.Fprintln(&b, e)
	}
	return os.WriteFile(filepath.Join(dir, "history.txt"), []byte(b.String()), 0o600)
}
