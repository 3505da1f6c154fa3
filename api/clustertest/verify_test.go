package clustertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// report is what a run of load under faults has shown.
type report struct {
	acknowledged, unknown, failed, stale, reads int
	lost, duplicates                            int
}

// verify ends the load and compares what the clients were told with what every node has. It fails the test on any
// difference.
func (l *load) verify() report {
	l.t.Helper()
	l.stop()
	l.must(l.c.awaitWhole())
	l.must(l.c.manage(http.MethodPatch, "/v1/metadata/"+l.prefix+"/auto", map[string]any{"rotation_paused": true}))
	l.must(l.c.awaitReplay())
	l.lastReads()
	entries := l.h.all()
	var r report
	for _, e := range entries {
		switch {
		case e.acknowledged():
			r.acknowledged++
		case e.change() && e.Out.Outcome == unknown:
			r.unknown++
		case e.change() && e.Out.Outcome == failed:
			r.failed++
		case e.Out.Outcome == stale:
			r.stale++
		case !e.change() && e.Out.Outcome == ok:
			r.reads++
		}
	}
	err := errors.Join(
		unexpected(entries), linearizable(trusted(entries, l.twoPrimaries), l.artifacts), monotonic(entries, l.breaks), readYourWrites(trusted(entries, l.twoPrimaries)), honest(entries, l.breaks),
		l.compareStored(entries, &r), l.compareAudit(entries), l.compareRotations())
	l.must(err)
	return r
}

// manage has the API of the primary's node do something that is no part of the history.
func (c *cluster) manage(method, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	l := c.leader()
	if l == nil {
		return errors.New("there is no primary")
	}
	req, err := http.NewRequest(method, l.url()+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + c.token}}
	if method == http.MethodPatch {
		req.Header.Set("If-Match", "*")
	}
	r, err := c.admin.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode >= 300 {
		answer, _ := io.ReadAll(r.Body)
		return fmt.Errorf("%s %s: %s %s", method, path, r.Status, answer)
	}
	return nil
}

// compareRotations checks that the secret which rotated by itself all the while has one version for each rotation that
// was due and done, under any primary, and one audit record for each.
func (l *load) compareRotations() error {
	n := l.c.leader()
	if n == nil {
		return errors.New("there is no primary")
	}
	name := l.prefix + "/auto"
	same, err := query[bool](n, `SELECT count(*) = count(DISTINCT j.version) AND count(*) = coalesce(min(s.current_version) - 1, 0)
		AND count(*) = (SELECT count(*) FROM vault.audit_log WHERE secret_name = $1 AND action = 'rotate' AND outcome = 'ok')
		FROM vault.rotation_jobs j JOIN vault.secrets s ON s.id = j.secret_id WHERE s.name = $1 AND j.state = 'done'`, name)
	if err != nil || !same {
		return fmt.Errorf("%s: the rotations done, the versions and the audit differ: %w", name, err)
	}
	return nil
}

// lastReads adds a read of every secret through every node, so that the end of the history is known.
func (l *load) lastReads() {
	for _, n := range l.c.nodes {
		w := newClient(l.h, n, l.seed)
		for k := range keptSecrets {
			w.do(l.kept(k), input{Kind: read})
		}
		for k := range freeSecrets {
			w.do(l.free(k), input{Kind: read})
		}
		w.http.CloseIdleConnections()
	}
}

// awaitReplay returns when every node has replayed what the primary has now.
func (c *cluster) awaitReplay() error {
	l := c.leader()
	if l == nil {
		return errors.New("there is no primary")
	}
	lsn, err := query[string](l, "SELECT pg_current_wal_lsn()::text")
	if err != nil {
		return err
	}
	for _, n := range c.others(l) {
		if !await(settling, func() bool {
			there, err := query[bool](n, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", lsn)
			return err == nil && there
		}) {
			return fmt.Errorf("%s does not replay up to %s", n.name, lsn)
		}
	}
	return nil
}

// stored is what one node's tables hold of one secret.
type stored struct {
	Name     string
	Current  int64
	Versions []int64
	Sums     []string // of each version's ciphertext
}

// compareStored looks into the tables of every node: versions are without a gap, every acknowledged change of a secret
// that was never deleted is there with the value that was written, and all nodes hold the same bytes.
func (l *load) compareStored(entries []entry, r *report) error {
	var first []stored
	for i, n := range l.c.nodes {
		rows, err := queryAll[stored](n, `SELECT s.name, s.current_version, array_agg(v.version ORDER BY v.version),
			array_agg(md5(v.ciphertext) ORDER BY v.version)
			FROM vault.secrets s JOIN vault.secret_versions v ON v.secret_id = s.id
			WHERE s.deleted_at IS NULL AND s.name LIKE $1 GROUP BY s.name, s.current_version ORDER BY s.name`, l.prefix+"/%")
		if err != nil {
			return err
		}
		if i == 0 {
			first = rows
		}
		if !slices.EqualFunc(first, rows, func(a, b stored) bool {
			return a.Name == b.Name && a.Current == b.Current && slices.Equal(a.Versions, b.Versions) && slices.Equal(a.Sums, b.Sums)
		}) {
			return fmt.Errorf("%s and %s do not hold the same", l.c.nodes[0].name, n.name)
		}
		if err := gapless(rows); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return l.compareKept(entries, first, r)
}

func gapless(rows []stored) error {
	for _, s := range rows {
		for k, v := range s.Versions {
			if v != s.Versions[0]+int64(k) {
				return fmt.Errorf("%s: the versions %v have a gap", s.Name, s.Versions)
			}
		}
		if s.Versions[len(s.Versions)-1] != s.Current {
			return fmt.Errorf("%s: version %d is current, the last one stored is %d", s.Name, s.Current, s.Versions[len(s.Versions)-1])
		}
		if strings.Contains(s.Name, "/kept/") && s.Versions[0] != 1 {
			return fmt.Errorf("%s: the first version is %d", s.Name, s.Versions[0])
		}
	}
	return nil
}

// compareKept counts acknowledged changes that are not there or share a version, and reads each one's value.
func (l *load) compareKept(entries []entry, rows []stored, r *report) error {
	there := map[string][]int64{}
	for _, s := range rows {
		there[s.Name] = s.Versions
	}
	type cell struct {
		name    string
		version uint64
	}
	seen := map[cell]entry{}
	var wrong []error
	for _, e := range entries {
		if !e.acknowledged() || !strings.Contains(e.Name, "/kept/") {
			continue
		}
		key := cell{e.Name, e.Out.Version}
		if other, twice := seen[key]; twice {
			r.duplicates++
			wrong = append(wrong, fmt.Errorf("two changes were acknowledged as one version:\n%s\n%s", other, e))
		}
		seen[key] = e
		if !slices.Contains(there[e.Name], int64(e.Out.Version)) {
			r.lost++
			wrong = append(wrong, fmt.Errorf("an acknowledged change is not there: %s", e))
		}
	}
	for key, e := range seen {
		if len(wrong) > 0 {
			break
		}
		if e.In.Value == "" {
			continue // generated
		}
		value, err := l.c.valueOf(key.name, key.version, int(key.version)%size)
		if err != nil || value != e.In.Value {
			r.lost++
			wrong = append(wrong, fmt.Errorf("the value of an acknowledged change is %q, %w: %s", value, err, e))
		}
	}
	return errors.Join(wrong...)
}

// valueOf reads one version through one node's API.
func (c *cluster) valueOf(name string, version uint64, at int) (string, error) {
	r, err := c.admin.Get(fmt.Sprintf("%s/v1/secrets/%s?version=%d", c.nodes[at].url(), name, version))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	var body struct {
		Value  string
		Detail string
	}
	if err := decode(r, &body); err != nil || r.StatusCode != 200 {
		return "", fmt.Errorf("%s %s %w", r.Status, body.Detail, err)
	}
	return body.Value, nil
}

// record is what the audit says of one request.
type record struct {
	RequestID string
	Times     int64
	Good      int64
}

// compareAudit checks that every operation that was answered has exactly one record, with the outcome that the client
// was told. Records of reads take the way through a journal, so they may come a little later.
func (l *load) compareAudit(entries []entry) error {
	var wrong []error
	await(2*time.Minute, func() bool {
		wrong = l.auditDifferences(entries)
		return len(wrong) == 0
	})
	if n := len(wrong); n > 5 {
		wrong = append(wrong[:5], fmt.Errorf("and %d more", n-5))
	}
	return errors.Join(wrong...)
}

func (l *load) auditDifferences(entries []entry) (wrong []error) {
	leader := l.c.leader()
	if leader == nil {
		return []error{errors.New("there is no primary")}
	}
	rows, err := queryAll[record](leader, `SELECT request_id, count(*), count(*) FILTER (WHERE outcome = 'ok') FROM vault.audit_log
		WHERE secret_name LIKE $1 AND request_id IS NOT NULL GROUP BY request_id`, l.prefix+"/%")
	if err != nil {
		return []error{err}
	}
	records := map[string]record{}
	for _, r := range rows {
		records[r.RequestID] = r
	}
	for _, e := range entries {
		r := records[e.RequestID]
		switch e.Out.Outcome {
		case ok:
			if r.Times != 1 || r.Good != 1 {
				wrong = append(wrong, fmt.Errorf("%d records, %d ok, of %s %s", r.Times, r.Good, e.RequestID, e))
			}
		case missing, exists, stale:
			if r.Times != 1 || r.Good != 0 {
				wrong = append(wrong, fmt.Errorf("%d records, %d ok, of %s %s", r.Times, r.Good, e.RequestID, e))
			}
		}
	}
	return wrong
}
