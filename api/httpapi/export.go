package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	maxExports       = 8                // at a time, a quarter of them of one client; each holds one page
	exportWriteLimit = 10 * time.Second // a reader that takes no more is let go
	isNDJSON         = "application/x-ndjson"
)

// auditLine is a record of the audit as a line of JSON. The id is a text, because most readers of JSON take a number for
// a float, which holds no such large one.
type auditLine struct {
	ID          int64           `json:"id,string"`
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
}

// exportAudit sends the audit line by line. What fails on the way cuts the connection, so that the client does not take
// what it has for all there is; it goes on after the last line that it got.
func (s *server) exportAudit(c *gin.Context) error {
	after, limit, err := exportQuery(c.Request)
	if err != nil {
		return s.reject(c, vault.ActionAudit, "", err)
	}
	leave := func() {}
	defer func() { leave() }()
	e, err := s.Vault.ExportAudit(c.Request.Context(), callerOf(c), after, func() error {
		free, err := s.exports.take(over, callerOf(c).Addr)
		if err != nil {
			return core.Wrap(core.Unavailable, err, "%s", s.tooManyExports(err))
		}
		leave = free
		return nil
	})
	if err != nil {
		return err
	}
	if c.Request.Method == http.MethodHead {
		limit = 1 // finds out whether the records can be read; all of them would be read for nothing
	}
	if err := s.sendExport(c, e, limit); err != nil {
		s.Log.InfoContext(c.Request.Context(), "audit export ended", "cause", err.Error(), "request_id", callerOf(c).RequestID)
		if !c.Writer.Written() {
			return err
		}
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (s *server) tooManyExports(why error) string {
	if errors.Is(why, errShare) {
		return fmt.Sprintf("this client runs %d exports of the audit already", s.exports.share)
	}
	return fmt.Sprintf("%d exports of the audit are running already", maxExports)
}

func exportQuery(r *http.Request) (after int64, limit int, err error) {
	q, err := query(r, "after", "limit")
	if err != nil {
		return 0, 0, err
	}
	if q.Has("after") {
		if after, err = strconv.ParseInt(q.Get("after"), 10, 64); err != nil || after < 0 {
			return 0, 0, core.Errorf(core.Invalid, "after must be the id of an audit record, or 0")
		}
	}
	limit = -1
	if q.Has("limit") {
		if limit, err = strconv.Atoi(q.Get("limit")); err != nil || limit < 1 {
			return 0, 0, core.Errorf(core.Invalid, "limit must be a whole number of at least 1")
		}
	}
	return after, limit, nil
}

// sendExport sends at most limit records, or what there is when limit is negative.
func (s *server) sendExport(c *gin.Context, e *vault.Export, limit int) error {
	ctx := stateOf(c).unbounded
	control := http.NewResponseController(c.Writer)
	_ = control.SetReadDeadline(time.Time{})
	for limit != 0 {
		size := vault.MaxExport
		if limit > 0 {
			size = min(size, limit)
		}
		page, err := s.exportPage(ctx, e, size)
		if err != nil {
			return err
		}
		c.Writer.Header().Set("Content-Type", isNDJSON)
		_ = control.SetWriteDeadline(time.Now().Add(exportWriteLimit))
		lines := json.NewEncoder(c.Writer)
		for i := range page {
			if err := lines.Encode(auditLineOf(&page[i])); err != nil {
				return err
			}
		}
		if limit > 0 {
			limit -= len(page)
		}
		if len(page) < size {
			break
		}
		if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if s.closing() {
			return errClosing
		}
	}
	c.Writer.WriteHeaderNow()
	return nil
}

// exportPage gives each page the time of a read.
func (s *server) exportPage(ctx context.Context, e *vault.Export, size int) ([]vault.AuditRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, s.RequestTimeout)
	defer cancel()
	return e.Next(ctx, size)
}

func (s *server) closing() bool {
	select {
	case <-s.Closing:
		return true
	default:
		return false
	}
}

func auditLineOf(r *vault.AuditRecord) auditLine {
	return auditLine{
		ID: r.ID, At: orNil(r.At), Node: r.Node, Actor: r.Actor, Accessor: r.Accessor, Method: r.Method, SessionRole: r.SessionRole, ClientIP: r.ClientIP,
		Action: r.Action, Name: r.Name, Version: r.Version, Outcome: r.Outcome, Code: r.Code, RequestID: r.RequestID,
		Details: r.Details,
	}
}
