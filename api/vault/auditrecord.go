package vault

import (
	"context"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Action is what an operation tries to do, as the audit log spells it.
type Action string

// The actions of the audit log.
const (
	ActionCreate    Action = "create"
	ActionRead      Action = "read"
	ActionUpdate    Action = "update"
	ActionDelete    Action = "delete"
	ActionRotate    Action = "rotate"
	ActionVerify    Action = "verify"
	ActionList      Action = "list"
	ActionDescribe  Action = "describe"
	ActionConfigure Action = "configure"
	ActionExpire    Action = "expire"
	ActionStatus    Action = "status"

	// Of single versions; ActionDelete is of a whole secret.
	ActionDeleteVersion   Action = "delete_version"
	ActionUndeleteVersion Action = "undelete_version"
	ActionDestroyVersion  Action = "destroy_version"

	// Of a deleted secret.
	ActionRestore Action = "restore"
	ActionDestroy Action = "destroy"

	// Of the roles of PostgreSQL whose passwords secrets are.
	ActionBindRole      Action = "bind_role"
	ActionUnbindRole    Action = "unbind_role"
	ActionConfigureRole Action = "configure_role"
	ActionRepairRole    Action = "repair_role"
	ActionRoleDrift     Action = "role_drift" // the supervisor has found one that is not as the vault has made it
	ActionSessionList   Action = "session_list"
	ActionSessionWait   Action = "session_wait" // the supervisor has waited for sessions of a retiring role
	ActionSessionEnd    Action = "session_end"  // the supervisor ends sessions of a former password

	ActionWatch       Action = "watch"
	ActionTokenCreate Action = "token_create"
	ActionTokenRenew  Action = "token_renew"
	ActionTokenRevoke Action = "token_revoke"
	ActionTokenList   Action = "token_list"
	ActionAccess      Action = "access" // asks who may do what, and why
	ActionGrant       Action = "grant"
	ActionRevoke      Action = "revoke"
	ActionAudit       Action = "audit"       // a read of the records
	ActionAuditPrune  Action = "audit_prune" // only by SQL

	// Of leased roles.
	ActionTemplateConfigure Action = "template_configure"
	ActionTemplateList      Action = "template_list"
	ActionLeaseIssue        Action = "lease_issue"
	ActionLeaseRenew        Action = "lease_renew"
	ActionLeaseRevoke       Action = "lease_revoke"
	ActionLeaseEnd          Action = "lease_end" // only by the supervisor
	ActionLeaseList         Action = "lease_list"

	ActionRewrap       Action = "rewrap"        // without a name the whole run, with one a version of it
	ActionRewrapStatus Action = "rewrap_status" // a read of its progress

	ActionMalformed Action = "malformed" // stands for a record that the audit log does not take
)

// Outcome is how an operation ended, as the audit log spells it.
type Outcome string

// The outcomes of the audit log. Denied means that the caller had no right;
// Failed is everything else that did not succeed.
const (
	OutcomeOK     Outcome = "ok"
	OutcomeDenied Outcome = "denied"
	OutcomeFailed Outcome = "failed"
	// OutcomeUnknown: the change was sent, and whether it was made could not be found out in time. If it was, it has a
	// record of its own (ok) with the same request id.
	OutcomeUnknown Outcome = "unknown"
)

// Entry is one audit record. It holds no value, token or key.
type Entry struct {
	Origin  Origin
	Action  Action
	Name    string // secret (or token) name; "" where there is none, or what was asked for is no name
	Version uint64 // 0 = none
	Outcome Outcome
	Code    core.Code // "" when Outcome is OutcomeOK
}

// Recorder writes audit records. Implementations are safe for concurrent use.
type Recorder interface {
	// Record returns nil once every entry is on its way to durable storage. Any
	// error makes the operation they belong to fail: nothing leaves unrecorded.
	// ctx is never cancelled by a client that goes away, and carries a deadline.
	Record(ctx context.Context, entries ...Entry) error
}
