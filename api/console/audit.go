package console

import (
	"net/http"
	"strconv"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// auditSize is how many records a page of the audit has.
const auditSize = 100

// auditPage is a page of the audit with its filter.
type auditPage struct {
	Prefix, Action, Outcome, Actor, Within string
	Spans                                  []auditSpan
	Actions                                []vault.Action
	Outcomes                               []vault.Outcome
	Records                                []vault.AuditRecord
	Now                                    time.Time
	NextAt, NextID                         string // by which the next page continues; "" = this was the last one
	Later                                  bool   // it is not the first page
}

// auditSpan is how far back a search of the audit goes.
type auditSpan struct {
	Name, Text string
	length     time.Duration
}

var auditSpans = []auditSpan{
	{"hour", "the last hour", time.Hour}, {"day", "the last day", 24 * time.Hour}, {"week", "the last 7 days", 7 * 24 * time.Hour},
	{"month", "the last 30 days", 30 * 24 * time.Hour}, {"year", "the last year", 366 * 24 * time.Hour},
}

// auditActions are those that the filter offers.
var auditActions = []vault.Action{
	vault.ActionRead, vault.ActionVerify, vault.ActionList, vault.ActionDescribe, vault.ActionCreate, vault.ActionUpdate, vault.ActionConfigure,
	vault.ActionRotate, vault.ActionExpire, vault.ActionDelete, vault.ActionRestore, vault.ActionDestroy, vault.ActionGrant, vault.ActionRevoke,
	vault.ActionTokenCreate, vault.ActionTokenRenew, vault.ActionTokenRevoke, vault.ActionTokenList, vault.ActionLogin, vault.ActionAuthConfigure,
	vault.ActionLeaseIssue, vault.ActionLeaseRenew, vault.ActionLeaseRevoke, vault.ActionLeaseEnd, vault.ActionBindRole, vault.ActionUnbindRole,
	vault.ActionRepairRole, vault.ActionRoleDrift, vault.ActionAccess, vault.ActionAudit, vault.ActionStatus, vault.ActionRewrap,
}

var auditOutcomes = []vault.Outcome{vault.OutcomeOK, vault.OutcomeDenied, vault.OutcomeFailed, vault.OutcomeUnknown}

// audit shows records, newest first.
func (v *visit) audit() error {
	p := auditPage{
		Prefix: v.query.Get("prefix"), Action: v.query.Get("action"), Outcome: v.query.Get("outcome"), Actor: v.query.Get("actor"),
		Within: v.query.Get("within"), Spans: auditSpans, Actions: auditActions, Outcomes: auditOutcomes, Now: v.c.clock(),
	}
	q, err := p.filter(v.query.Get("at"), v.query.Get("id"))
	if err != nil {
		return v.reject(vault.ActionAudit, "", err)
	}
	p.Later = q.Before.ID != 0
	p.Records, err = v.c.vault.QueryAudit(v.ctx(), v.caller, q, auditSize+1)
	if err != nil {
		return err
	}
	if len(p.Records) > auditSize {
		p.Records = p.Records[:auditSize]
		last := p.Records[auditSize-1]
		p.NextAt, p.NextID = last.At.UTC().Format(time.RFC3339Nano), strconv.FormatInt(last.ID, 10)
	}
	return v.show(http.StatusOK, "audit.html", v.page("Audit", "audit", p))
}

// filter returns what the form selects, from the record at and id on.
func (p *auditPage) filter(at, id string) (q vault.AuditFilter, err error) {
	if p.Within == "" {
		p.Within = "day"
	}
	q = vault.AuditFilter{Prefix: p.Prefix, Action: vault.Action(p.Action), Outcome: vault.Outcome(p.Outcome), Actor: p.Actor}
	for _, s := range auditSpans {
		if s.Name == p.Within {
			q.Since = p.Now.Add(-s.length)
		}
	}
	if at == "" && id == "" {
		return q, nil
	}
	q.Before.At, err = time.Parse(time.RFC3339Nano, at)
	if err == nil {
		q.Before.ID, err = strconv.ParseInt(id, 10, 64)
	}
	if err != nil {
		return q, core.Errorf(core.Invalid, "the page of the audit cannot be read from the address")
	}
	return q, nil
}
