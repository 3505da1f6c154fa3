package metric

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var update = flag.Bool("update", false, "write docs/reference/metrics.md")

const (
	reference      = "../../docs/reference/metrics.md"
	referenceBegin = "<!-- made by go test ./api/metric -run TestMetricsPage -update -->\n"
	referenceEnd   = "<!-- end -->\n"
)

// TestMetricsPage compares docs/reference/metrics.md with the metrics that the process exports: name, type, labels, help.
func TestMetricsPage(t *testing.T) {
	text := readFile(t, reference)
	before, rest, ok := strings.Cut(text, referenceBegin)
	got, after, ended := strings.Cut(rest, referenceEnd)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines\n%s%s", reference, referenceBegin, referenceEnd)
	}
	want := "\n" + metricsList(t) + "\n"
	if *update {
		if err := os.WriteFile(reference, []byte(before+referenceBegin+want+referenceEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s is not what the code says. Run: go test ./api/metric -run TestMetricsPage -update", reference)
	}
}

// metricsList returns an item for each metric that any state of the sources exports.
func metricsList(t *testing.T) string {
	t.Helper()
	away := func(context.Context) (vault.Replication, error) {
		return vault.Replication{}, core.Errorf(core.Unavailable, "away")
	}
	body := exportedBy(sources(standby)) + exportedBy(sources(away))
	labels := map[string]map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^`+prefix+`(\w+)(?:\{(.*)\})? `).FindAllStringSubmatch(body, -1) {
		name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(m[1], "_bucket"), "_sum"), "_count")
		if labels[name] == nil {
			labels[name] = map[string]bool{}
		}
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels[name]["`"+l[1]+"`"] = true
			}
		}
	}
	items := map[string]string{}
	for _, m := range regexp.MustCompile(`# HELP `+prefix+`(\w+) (.*)\n# TYPE \S+ (\w+)`).FindAllStringSubmatch(body, -1) {
		traits := m[3]
		if with := slices.Sorted(maps.Keys(labels[m[1]])); len(with) > 0 {
			traits += " by " + strings.Join(with, " and ")
			traits = strings.Replace(traits, " and ", ", ", max(0, len(with)-2))
		}
		items[m[1]] = fmt.Sprintf("- **`%s`** (%s).\n  %s\n", m[1], traits, wrapped(m[2]))
	}
	if len(items) < 50 {
		t.Fatalf("only %d metrics are exported", len(items))
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(items)) {
		b.WriteString(items[name])
	}
	return b.String()
}

// wrapped breaks the lines of an item at 98 columns.
func wrapped(text string) string {
	var b strings.Builder
	column := 2
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > 98:
			b.WriteString("\n  ")
			column = 2
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

func exportedBy(s Sources) string {
	w := httptest.NewRecorder()
	Handler(s).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}
