package metric

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const monitoring = "../../docs/monitoring/"

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each metric that an alert, its tests or the dashboard uses is one that a process exports.
func TestMonitoringUsesWhatIsExported(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(sources(standby)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	exported := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(hyperion_vault_[a-z_]+)`).FindAllString(w.Body.String(), -1) {
		exported[m] = true
	}
	_, table, _ := strings.Cut(readFile(t, "../../docs/OPERATIONS.md"), "\n## Metrics\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1)
	if len(rows) < 20 {
		t.Errorf("docs/OPERATIONS.md has only %d metrics", len(rows))
	}
	for _, row := range rows {
		if !exported[prefix+row[1]] && !exported[prefix+row[1]+"_count"] {
			t.Errorf("docs/OPERATIONS.md has %s, which no process exports", row[1])
		}
	}
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "dashboard.json"} {
		used := regexp.MustCompile(`hyperion_vault_[a-z_]+`).FindAllString(readFile(t, monitoring+file), -1)
		if len(used) < 10 {
			t.Errorf("%s uses only %d metrics", file, len(used))
		}
		for _, m := range used {
			if !exported[m] {
				t.Errorf("%s uses %s, which no process exports", file, m)
			}
		}
	}
}

// Each alert links to a heading that the runbook has, and the runbook names each alert.
func TestAlertsHaveARunbook(t *testing.T) {
	runbook, rules := readFile(t, "../../docs/OPERATIONS.md"), readFile(t, monitoring+"alerts.yml")
	var anchors []string
	for _, h := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(runbook, -1) {
		anchors = append(anchors, strings.ReplaceAll(strings.ToLower(h[1]), " ", "-"))
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	links := regexp.MustCompile(`runbook_url: \S+/docs/OPERATIONS\.md#(\S+)`).FindAllStringSubmatch(rules, -1)
	if len(alerts) < 10 || len(alerts) != len(links) {
		t.Fatalf("%d alerts, %d links", len(alerts), len(links))
	}
	for i, l := range links {
		if !slices.Contains(anchors, l[1]) {
			t.Errorf("%s links to #%s, which the runbook does not have", alerts[i][1], l[1])
		}
	}
}

// The dashboard is valid JSON, and each of its panels asks something.
func TestDashboard(t *testing.T) {
	var d struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, monitoring+"dashboard.json")), &d); err != nil || d.Title == "" || len(d.Panels) < 5 {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, p := range d.Panels {
		if len(p.Targets) == 0 || slices.ContainsFunc(p.Targets, func(x struct{ Expr string }) bool { return x.Expr == "" }) {
			t.Errorf("panel %q asks nothing", p.Title)
		}
	}
}
