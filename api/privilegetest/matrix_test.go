package privilegetest

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/privileges.txt")

const golden = "testdata/privileges.txt"

const preamble = `Who may use which route, as the real API answers in front of PostgreSQL. Written by
go test ./api/privilegetest -update, and compared by each run. A change here is a change of who may do what.

Requests are about a secret below app/ that exists, unless the row says something else. A cell is the status of the
answer; where the answer shows secrets, it also says which of two: a is seen/app, on which those have their right who
have one on app/*, o is seen/other, - is neither. HEAD is answered as GET is.

`

// TestMatrix compares the table with the golden one.
func TestMatrix(t *testing.T) {
	m := newMatrix(t)
	table := m.table(t)
	if *update {
		if err := os.WriteFile(golden, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(table, "\n")); diff != "" {
		t.Errorf("the table has changed (-want +got):\n%s", diff)
	}
}

func (m *matrix) table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(preamble)
	for _, c := range m.callers {
		fmt.Fprintf(&b, "%-7s %s\n", c.short, c.long)
	}
	fmt.Fprintf(&b, "\n%-64s", "")
	for _, c := range m.callers {
		fmt.Fprintf(&b, " %-6s", c.short)
	}
	b.WriteString("\n")
	for i, r := range rows {
		line := fmt.Sprintf("%-64s", r.title())
		for j, c := range m.callers {
			line += fmt.Sprintf(" %-6s", m.cell(t, r, c, fmt.Sprintf("r%d-c%d", i, j), address(c, i, j)))
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// address gives each cell a client address of its own, so that no refusal is rationed because of another cell's.
func address(c caller, i, j int) string {
	if c.outside {
		return fmt.Sprintf("192.168.%d.%d", j, i+1)
	}
	return fmt.Sprintf("10.0.%d.%d", j, i+1)
}

// cell sends the request of a row as a caller. A GET is sent as HEAD too, which must be answered alike.
func (m *matrix) cell(t *testing.T, r row, c caller, key, from string) string {
	t.Helper()
	method, path, _ := strings.Cut(r.route, " ")
	if r.path != "" {
		path = r.path
	}
	fill := m.fill(t, key, path+r.body)
	status, body := m.send(t, r, c, method, fill.Replace(path)+r.query, fill.Replace(r.body), from)
	if method == http.MethodGet && !r.makes {
		if head, _ := m.send(t, r, c, http.MethodHead, fill.Replace(path)+r.query, "", from); head != status {
			t.Errorf("%s as %s: GET is answered %d and HEAD %d", r.title(), c.short, status, head)
		}
	}
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusMethodNotAllowed {
		t.Errorf("%s as %s: %d %s", r.title(), c.short, status, body)
	}
	cell := fmt.Sprint(status)
	if r.shows && status == http.StatusOK {
		cell += " " + shown(body)
	}
	return cell
}

// shown says of which secrets an answer has the name, or of a batch read the value.
func shown(body string) string {
	seen := ""
	for letter, what := range map[string][2]string{"a": {"seen/app", "value-of-app"}, "o": {"seen/other", "value-of-other"}} {
		marker := `"name":"` + what[0] + `"`
		if strings.Contains(body, `"results"`) {
			marker = what[1]
		}
		if strings.Contains(body, marker) {
			seen += letter
		}
	}
	switch seen {
	case "":
		return "-"
	case "oa":
		return "ao"
	}
	return seen
}

// send returns the status and, but for an event stream, which has no end, the body.
func (m *matrix) send(t *testing.T, r row, c caller, method, path, body, from string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", from)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.match {
		req.Header.Set("If-Match", "*")
	}
	res, err := m.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return res.StatusCode, ""
	}
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}
