package clustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// op makes an entry from call to return, in seconds.
func op(call, ret int, in input, out output) entry {
	return entry{Name: "a", In: in, Out: out, Call: time.Duration(call) * time.Second, Return: time.Duration(ret) * time.Second}
}

func ackedCreate(call, ret int, value string) entry {
	return ackedCreateAt(call, ret, 1, value)
}

func ackedCreateAt(call, ret int, version uint64, value string) entry {
	return op(call, ret, input{Kind: create, Value: value}, output{Outcome: ok, Version: version})
}

func ackedUpdate(call, ret int, expect uint64, value string) entry {
	return op(call, ret, input{Kind: update, Expect: expect, Value: value}, output{Outcome: ok, Version: expect + 1})
}

func reads(call, ret int, version uint64, value string) entry {
	return op(call, ret, input{Kind: read}, output{Outcome: ok, Version: version, Value: value})
}

func answered(call, ret int, in input, o outcome) entry { return op(call, ret, in, output{Outcome: o}) }

func localRead(call, ret int, version uint64) entry {
	return op(call, ret, input{Kind: local}, output{Outcome: ok, Version: version, Value: "w-1"})
}

// The checker is worth something only if it finds what it is there to find.
func TestCheckerAccepts(t *testing.T) {
	for name, h := range map[string][]entry{
		"one after the other": {ackedCreate(1, 2, "w-1"), reads(3, 4, 1, "w-1"), ackedUpdate(5, 6, 1, "w-2"), reads(7, 8, 2, "w-2")},
		"a read beside a change may see either": {ackedCreate(1, 2, "w-1"), ackedUpdate(3, 9, 1, "w-2"), reads(4, 5, 1, "w-1"),
			reads(6, 7, 2, "w-2")},
		"of two that replace one version one is stale": {ackedCreate(1, 2, "w-1"), ackedUpdate(3, 9, 1, "w-2"),
			answered(3, 9, input{Kind: update, Expect: 1, Value: "w-3"}, stale)},
		"an unknown change may have happened": {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: update, Expect: 1, Value: "w-2"}, unknown),
			reads(5, 6, 2, "w-2")},
		"an unknown change may not have happened": {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: update, Expect: 1, Value: "w-2"}, unknown),
			ackedUpdate(5, 6, 1, "w-3"), reads(7, 8, 2, "w-3")},
		"an unknown change may happen late": {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: remove}, unknown), reads(5, 6, 1, "w-1"),
			answered(7, 8, input{Kind: read}, missing)},
		"deleted and made again": {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: remove, Expect: 1}, ok), answered(5, 6, input{Kind: read}, missing),
			ackedCreateAt(7, 8, 2, "w-2"), reads(9, 10, 2, "w-2")},
		"a generated value is learned": {ackedCreate(1, 2, "w-1"), op(3, 4, input{Kind: rotate}, output{Outcome: ok, Version: 2}),
			reads(5, 6, 2, "xyz"), reads(7, 8, 2, "xyz")},
		"a candidate": {ackedCreate(1, 2, "w-1"), op(3, 4, input{Kind: verify, Value: "w-1"}, output{Outcome: ok, Valid: true, Version: 1}),
			op(3, 4, input{Kind: verify, Value: "w-0"}, output{Outcome: ok})},
		"what failed did not happen": {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: update, Expect: 1, Value: "w-2"}, failed),
			reads(5, 6, 1, "w-1")},
	} {
		t.Run(name, func(t *testing.T) {
			if err := linearizable(h, t.TempDir); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckerRefuses(t *testing.T) {
	for name, h := range map[string][]entry{
		"a lost write":                    {ackedCreate(1, 2, "w-1"), ackedUpdate(3, 4, 1, "w-2"), reads(5, 6, 1, "w-1")},
		"a version of two lives":          {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: remove}, ok), ackedCreate(5, 6, "w-2")},
		"a lost secret":                   {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: read}, missing)},
		"one version twice":               {ackedCreate(1, 2, "w-1"), ackedUpdate(3, 9, 1, "w-2"), ackedUpdate(3, 9, 1, "w-3")},
		"another value":                   {ackedCreate(1, 2, "w-1"), reads(3, 4, 1, "w-2")},
		"a read that goes back":           {ackedCreate(1, 2, "w-1"), ackedUpdate(3, 10, 1, "w-2"), reads(4, 5, 2, "w-2"), reads(6, 7, 1, "w-1")},
		"stale without reason":            {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: update, Expect: 1, Value: "w-2"}, stale)},
		"created twice":                   {ackedCreate(1, 2, "w-1"), ackedCreate(3, 4, "w-2")},
		"exists without reason":           {answered(1, 2, input{Kind: create, Value: "w-1"}, exists)},
		"a failed change that happened":   {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: update, Expect: 1, Value: "w-2"}, failed), reads(5, 6, 2, "w-2")},
		"a generated value that changes":  {ackedCreate(1, 2, "w-1"), op(3, 4, input{Kind: rotate}, output{Outcome: ok, Version: 2}), reads(5, 6, 2, "x"), reads(7, 8, 2, "y")},
		"a superseded candidate verifies": {ackedCreate(1, 2, "w-1"), ackedUpdate(3, 4, 1, "w-2"), op(5, 6, input{Kind: verify, Value: "w-1"}, output{Outcome: ok, Valid: true, Version: 1})},
		"a delete that did not happen":    {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: remove}, ok), reads(5, 6, 1, "w-1")},
		"a version left out":              {ackedCreate(1, 2, "w-1"), op(3, 4, input{Kind: update, Expect: 1, Value: "w-2"}, output{Outcome: ok, Version: 3})},
		"an unknown change happens twice": {ackedCreate(1, 2, "w-1"), answered(3, 4, input{Kind: rotate}, unknown), reads(5, 6, 3, "x")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := linearizable(h, func() string { return dir })
			if err == nil || !strings.Contains(err.Error(), "Illegal") {
				t.Fatalf("got %v, want a refusal", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "a.html")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMonotonicReads(t *testing.T) {
	ascendingReads := []entry{localRead(1, 2, 1), localRead(3, 4, 2), localRead(3, 6, 1), localRead(5, 6, 2), localRead(7, 8, 3)}
	if err := monotonic(ascendingReads, nil); err != nil {
		t.Error(err)
	}
	back := []entry{localRead(1, 2, 2), localRead(3, 4, 1)}
	if monotonic(back, nil) == nil {
		t.Error("a read that went back was not seen")
	}
	other := back[1]
	other.Node = 1
	if err := monotonic([]entry{back[0], other}, nil); err != nil {
		t.Errorf("two nodes were compared: %v", err)
	}
	elsewhere := back[1]
	elsewhere.LSN = "1-0/16"
	if err := monotonic([]entry{back[0], elsewhere}, nil); err != nil {
		t.Errorf("a read that the primary may have answered was compared: %v", err)
	}
	between := []entry{localRead(1, 2, 2), localRead(5, 6, 1)}
	if err := monotonic(between, map[int][]span{0: {{3 * time.Second, 4 * time.Second}}}); err != nil {
		t.Errorf("compared across a break: %v", err)
	}
	after := []entry{localRead(1, 2, 2), localRead(5, 6, 3), localRead(7, 8, 2)}
	if monotonic(after, map[int][]span{0: {{3 * time.Second, 4 * time.Second}}}) == nil {
		t.Error("a read that went back after a break was not seen")
	}
}

func TestHonestReads(t *testing.T) {
	if err := honest([]entry{ackedCreate(1, 2, "w-1"), localRead(3, 4, 1)}, nil); err != nil {
		t.Error(err)
	}
	if honest([]entry{ackedCreate(1, 2, "w-2"), localRead(3, 4, 1)}, nil) == nil {
		t.Error("a value that no client wrote was not seen")
	}
	if honest([]entry{ackedCreate(1, 2, "w-1"), ackedUpdate(3, 4, 1, "w-2"), localRead(5, 6, 2)}, nil) == nil {
		t.Error("the value of another version was not seen")
	}
	refused := answered(2, 24, input{Kind: update, Value: "w-1", Expect: 0}, stale)
	breaks := map[int][]span{0: {{from: 10 * time.Second, to: 12 * time.Second}}}
	if err := honest([]entry{refused, localRead(3, 4, 1)}, breaks); err != nil {
		t.Errorf("what a primary shows that was left behind: %v", err)
	}
	if honest([]entry{refused, localRead(13, 14, 1)}, breaks) == nil || honest([]entry{refused, localRead(3, 4, 1)}, nil) == nil {
		t.Error("a refused change was shown by a node that was not left behind, or has come back, and it was not seen")
	}
}

func TestReadYourWrites(t *testing.T) {
	e := localRead(3, 4, 2)
	e.AtLeast = 2
	if err := readYourWrites([]entry{e}); err != nil {
		t.Error(err)
	}
	e.AtLeast = 3
	if readYourWrites([]entry{e}) == nil {
		t.Error("a read that missed its write was not seen")
	}
	gone := answered(3, 4, input{Kind: local}, missing)
	gone.AtLeast = 1
	if readYourWrites([]entry{gone}) == nil {
		t.Error("a read that missed its create was not seen")
	}
}

// TestFirstChange: neither what was answered while the old primary was dying nor what was asked for before its death counts.
func TestFirstChange(t *testing.T) {
	h := newHistory()
	const mark, gone = 10 * time.Second, 12 * time.Second
	if _, found := h.firstChange(gone, entry.change); found {
		t.Error("found in an empty history")
	}
	h.entries = []entry{
		ackedUpdate(11, 12, 1, "between the mark and death"), ackedUpdate(11, 31, 2, "asked for before death"),
		reads(13, 14, 3, "no change"), answered(13, 15, input{Kind: update}, failed), answered(13, 29, input{Kind: remove}, ok),
		ackedUpdate(13, 33, 3, "later"), ackedUpdate(20, 32, 3, "first"),
	}
	for what, want := range map[string]struct {
		match func(entry) bool
		at    time.Duration
	}{"any change": {entry.change, 29 * time.Second}, "one that needs a key": {entry.keyed, 32 * time.Second}} {
		if got, found := h.firstChange(gone, want.match); !found || got != want.at {
			t.Errorf("%s: %s %t, want %s", what, got, found, want.at)
		}
	}
	l := &load{t: t, h: h}
	if got := l.pause(mark, gone, entry.change); got != 19*time.Second {
		t.Errorf("a pause of %s, want 19 s from the mark on", got)
	}
}

// TestSurvey: reads that fail, or stand still, on nodes that nothing befell.
func TestSurvey(t *testing.T) {
	at := func(node, call, ret int, o outcome) entry {
		e := op(call, ret, input{Kind: local}, output{Outcome: o})
		e.Name, e.Node = "l1/kept/0", node
		return e
	}
	l := &load{t: t, h: newHistory(), c: &cluster{nodes: []*node{{i: 0}, {i: 1}}}}
	l.h.entries = []entry{at(0, 1, 2, ok), at(1, 1, 2, ok), at(0, 3, 4, failed), at(1, 3, 10, ok), at(0, 40, 41, ok)}
	if s, err := l.spared(l.c.nodes[:1]); err != nil || s.answered != 2 || s.longest != 8*time.Second {
		t.Errorf("%+v: %v", s, err)
	}
	if _, err := l.spared(nil); err == nil || !strings.Contains(err.Error(), "1 reads failed") {
		t.Errorf("a read that failed: %v", err)
	}
	l.h.entries[2].Out.Outcome = ok
	if _, err := l.spared(nil); err == nil || !strings.Contains(err.Error(), "stood still for 37.0 s") {
		t.Errorf("reads that stood still: %v", err)
	}
	if s, err := l.spared(l.c.nodes); err != nil || s.answered != 0 {
		t.Errorf("%+v: %v", s, err)
	}
}
