package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strconv"
	"time"
)

// AuditRecord is what happened at one time.
type AuditRecord struct {
	ID          string          `json:"id"`
	At          *time.Time      `json:"at"`
	Node        string          `json:"node"`
	Actor       string          `json:"actor"`
	Accessor    string          `json:"accessor,omitempty"`
	Method      string          `json:"method,omitempty"`
	SessionRole string          `json:"session_role,omitempty"`
	ClientIP    string          `json:"client_ip,omitempty"`
	Action      string          `json:"action"`
	Name        string          `json:"name,omitempty"`
	Version     int64           `json:"version,omitempty"`
	Outcome     string          `json:"outcome"`
	Code        string          `json:"code,omitempty"`
	RequestID   string          `json:"request_id,omitempty"`
	Details     json.RawMessage `json:"details,omitempty"`

	// Line is the record as the server sent it.
	Line []byte `json:"-"`
}

const maxAuditLine = 1 << 20

// Audit returns the audit records after an id, in the order of ids, as they stream in. "" is the beginning. limit 0 is all
// there are now; to go on later, give the id of the last one. An error ends it.
func (c *Client) Audit(ctx context.Context, after string, limit int64) iter.Seq2[AuditRecord, error] {
	return func(yield func(AuditRecord, error) bool) {
		r := get("read the audit", "/v1/audit")
		r.read = false
		setIf(r.query, "after", after)
		if limit > 0 {
			r.query.Set("limit", strconv.FormatInt(limit, 10))
		}
		for try := 0; ; try++ {
			err := c.streamAudit(ctx, r, yield)
			if err == nil {
				return
			}
			if try >= c.retries || !mayRepeat(r, err) || !sleep(ctx, min(pauseOf(err, try), maxPause)) {
				yield(AuditRecord{}, err)
				return
			}
		}
	}
}

// streamAudit yields one answer. It leaves in r where to go on. Nil means that there is no more, or the loop has ended.
func (c *Client) streamAudit(ctx context.Context, r *call, yield func(AuditRecord, error) bool) *Error {
	resp, failure := c.send(ctx, ctx, r)
	if failure != nil {
		return failure
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		answer, _ := readAll(io.LimitReader(resp.Body, maxEventLine), -1)
		return c.failure(r, resp, answer)
	}
	lines := bufio.NewReaderSize(resp.Body, 64<<10)
	left, _ := strconv.ParseInt(r.query.Get("limit"), 10, 64)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil || len(line) > maxAuditLine {
			return &Error{Op: r.op, Code: Unreachable, Detail: "the answer broke off", cause: err}
		}
		record := AuditRecord{Line: line[:len(line)-1]}
		if json.Unmarshal(line, &record) != nil {
			return &Error{Op: r.op, Code: Unexpected, Detail: "the answer has a line that is no audit record"}
		}
		r.query.Set("after", record.ID)
		if left > 0 {
			if left--; left == 0 {
				yield(record, nil)
				return nil
			}
			r.query.Set("limit", strconv.FormatInt(left, 10))
		}
		if !yield(record, nil) {
			return nil
		}
	}
}
