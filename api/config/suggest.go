package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// knownNames is the set of every name that needs no warning.
func knownNames() map[string]bool {
	known := map[string]bool{}
	for _, s := range settings {
		known[s.name] = true
		if s.fromFile() {
			known[s.name+fileSuffix] = true
		}
	}
	for _, n := range clientNames {
		known[n] = true
	}
	return known
}

// nearest returns the known name with the least edit distance, the first in alphabetical order of equal ones.
func nearest(name string, known map[string]bool) string {
	// Names of other programs may be of any length; the distance costs len × len.
	upper := strings.ToUpper(name[:min(len(name), 64)])
	best, least := "", -1
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(upper, k); least < 0 || d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace to make b of a, where two neighbours swapped count
// once.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// showName quotes a name that could disturb a terminal or a log.
func showName(name string) string {
	if q := core.Quote(name); len(q) != len(name)+2 || strings.Contains(name, " ") {
		return q
	}
	return name
}
